# Installs the programs into an empty prefix and asks each for its version:
#   cmake -DBUILD=.. -DWORK=.. -DVERSION=.. -P check_programs.cmake
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE ${WORK})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK} --component programs
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
foreach(program train predict bench study inspect lessons pack)
  execute_process(COMMAND ${WORK}/bin/crisp-${program} --version OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  if(NOT output MATCHES "${VERSION}")
    message(FATAL_ERROR "crisp-${program} --version prints ${output}")
  endif()
endforeach()
foreach(file weights/sample/model.safetensors data/sample/train.tsv)
  if(NOT EXISTS ${WORK}/share/crisp/${file})
    message(FATAL_ERROR "share/crisp/${file} is not installed")
  endif()
endforeach()
file(REMOVE_RECURSE ${WORK})
