# Installs into an empty prefix, moves it, and builds and runs consumers outside of the tree against it:
#   cmake -DBUILD=.. -DSOURCE=.. -DWORK=.. -DC=.. -DCXX=.. -DGENERATOR=.. -P check_install.cmake
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\nfailed with ${result}:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
foreach(component library development)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first --component ${component})
endforeach()
file(RENAME ${WORK}/first ${WORK}/prefix)  # nothing in it may say where it was
file(GLOB_RECURSE installed RELATIVE ${WORK}/prefix ${WORK}/prefix/*)
foreach(wanted include/crisp/crisp.h include/crisp/crisp.hpp include/crisp/engine/ops.h)
  if(NOT wanted IN_LIST installed)
    message(FATAL_ERROR "${wanted} is not installed")
  endif()
endforeach()
foreach(file IN LISTS installed)
  if(file MATCHES "\\.(cmake|pc|h|hpp)$")
    file(READ ${WORK}/prefix/${file} text)
    string(FIND "${text}" "${SOURCE}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} names the source tree")
    endif()
  endif()
endforeach()

file(COPY ${CMAKE_CURRENT_LIST_DIR}/consumer DESTINATION ${WORK})
set(base ${SOURCE}/weights/sample)
foreach(languages "C" "C CXX")
  string(REPLACE " " "_" name "${languages}")
  run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK}/consumer -B ${WORK}/${name} "-DLANGUAGES=${languages}"
    -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_C_COMPILER=${C} -DCMAKE_CXX_COMPILER=${CXX}
    "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror ${FLAGS}"
    "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror ${FLAGS}")
  run(${CMAKE_COMMAND} --build ${WORK}/${name})
  run(${WORK}/${name}/c_consumer ${base})
  run(${WORK}/${name}/shared_consumer ${base})
endforeach()
run(${WORK}/C_CXX/cpp_consumer ${base})
run(${WORK}/C_CXX/engine_consumer)

# The shared library for who has nobody else's packages.
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK}/consumer -B ${WORK}/alone -DLANGUAGES=C -DCMAKE_PREFIX_PATH=${WORK}/prefix
  -DCMAKE_C_COMPILER=${C} "-DCMAKE_C_FLAGS=${FLAGS}" -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON
  -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON)
run(${CMAKE_COMMAND} --build ${WORK}/alone)
run(${WORK}/alone/shared_consumer ${base})

# What the shared library shows to others: abi.c's functions, and the types that abi.c says.
file(GLOB_RECURSE library ${WORK}/prefix/libcrisp.so)
find_program(nm NAMES nm REQUIRED)
execute_process(COMMAND ${nm} -D --defined-only --format=posix ${library} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${symbols}")
set(exported "")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "[ @].*" "" name "${line}")
  if(NOT line MATCHES " A( |$)")  # the version's own name
    list(APPEND exported ${name})
  endif()
endforeach()
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/abi.c wanted REGEX "^FUNCTION")
list(TRANSFORM wanted REPLACE "^FUNCTION\\(([a-z_]+).*" "\\1")
if(NOT exported STREQUAL wanted)
  message(FATAL_ERROR "libcrisp.so exports\n${exported}\nand tests/install/abi.c has\n${wanted}")
endif()
run(${C} -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I${WORK}/prefix/include
  ${CMAKE_CURRENT_LIST_DIR}/abi.c)

# Without CMake.
find_program(pkg_config NAMES pkg-config pkgconf)
if(NOT pkg_config)
  message("[skipped] crisp.pc: there is no pkg-config")
  return()
endif()
file(GLOB_RECURSE pc ${WORK}/prefix/crisp.pc)
get_filename_component(folder ${pc} DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${folder})
get_filename_component(libraries ${folder} DIRECTORY)
set(ENV{LD_LIBRARY_PATH} ${libraries})
foreach(package crisp crisp-static)
  execute_process(COMMAND ${pkg_config} --cflags --libs ${package} OUTPUT_VARIABLE options
    COMMAND_ERROR_IS_FATAL ANY OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(options UNIX_COMMAND "${options} ${FLAGS}")
  run(${C} -std=c99 ${WORK}/consumer/consumer.c ${options} -o ${WORK}/by_pkg_config)
  run(${WORK}/by_pkg_config ${base})
endforeach()
file(REMOVE_RECURSE ${WORK})
message(STATUS "the installed library serves C, C++ and pkg-config")
