# Holds check_ops_list.cmake to folders that it must accept and refuse: cmake -P tests/engine/check_ops_list_selftest.cmake
cmake_minimum_required(VERSION 3.25)

if(DEFINED ENV{TMPDIR})
  set(tmp "$ENV{TMPDIR}")
else()
  set(tmp "/tmp")
endif()
string(RANDOM LENGTH 12 unique)
set(folder "${tmp}/crisp-ops-${unique}")
set(failures "")

# expect(accepted|refused LIST): one.cpp defines one_op and two_op, list.cpp holds LIST.
function(expect outcome list)
  file(REMOVE_RECURSE "${folder}")
  file(WRITE "${folder}/one.cpp" "namespace {\n}\nconst Op one_op{\"one\", samples};\nconst Op two_op{\n")
  file(WRITE "${folder}/list.cpp" "#define CRISP_OPERATIONS(op) \\\n${list}\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" "-DOPS=${folder}" -P "${CMAKE_CURRENT_LIST_DIR}/check_ops_list.cmake"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(outcome STREQUAL "accepted" AND NOT result EQUAL 0)
    set(failures "${failures}  {${list}} was refused: ${output}\n" PARENT_SCOPE)
  elseif(outcome STREQUAL "refused" AND result EQUAL 0)
    set(failures "${failures}  {${list}} was accepted\n" PARENT_SCOPE)
  endif()
endfunction()

expect(accepted "  op(one) op(two)")
expect(accepted "  op(one) \\\n  op(two)")
expect(refused  "  op(one)")
expect(refused  "  op(one)  // op(two)")
expect(refused  "  op(one) op(two) op(one)")

file(REMOVE_RECURSE "${folder}")
if(failures)
  message(FATAL_ERROR "check_ops_list.cmake judges wrongly:\n${failures}")
endif()
message(STATUS "check_ops_list.cmake accepts and refuses as it should")
