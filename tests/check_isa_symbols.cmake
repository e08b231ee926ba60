# Fails if the kernels compiled for an instruction set define a symbol that the linker may share with other code. Such a
# weak symbol, compiled for AVX-512 and kept for everyone, would crash machines without it.
#
#   cmake -D ISA=avx2 -D NM=nm -D "OBJECTS=a.o;b.o" -P check_isa_symbols.cmake
#
# Allowed are weak symbols whose name lies in the instruction set's own namespace: cpu_<isa> or Eigen's renamed
# cpu_<isa>_eigen. DW.ref.* is a data word that points to the exception handler, the same in every object.
if(NOT ISA OR NOT NM OR NOT OBJECTS)
  message(FATAL_ERROR "usage: cmake -D ISA=... -D NM=... -D OBJECTS=... -P check_isa_symbols.cmake")
endif()

set(violations "")
set(defined 0)
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only -C ${object}
    OUTPUT_VARIABLE symbols RESULT_VARIABLE result ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "nm failed on ${object}: ${problem}")
  endif()
  string(REPLACE ";" "<semicolon>" symbols "${symbols}")
  string(REPLACE "[" "<" symbols "${symbols}")
  string(REPLACE "]" ">" symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  foreach(line IN LISTS symbols)
    if(line MATCHES "^[0-9a-fA-F]+ [A-Za-z] ")
      math(EXPR defined "${defined} + 1")
    endif()
    if(line MATCHES "^[0-9a-fA-F]+ [WVuvw] (.*)$")
      set(name "${CMAKE_MATCH_1}")
      # The namespace must be that of the function itself, not of an argument: no parenthesis or bracket before it.
      if(NOT name MATCHES "^[^(<]*cpu_${ISA}(_eigen)?::" AND NOT name MATCHES "^DW\\.ref\\.")
        string(APPEND violations "\n  ${object}: ${name}")
      endif()
    endif()
  endforeach()
endforeach()
if(defined EQUAL 0)
  message(FATAL_ERROR "no symbols found in the ${ISA} kernels: the check saw nothing")
endif()
if(violations)
  message(FATAL_ERROR "symbols of the ${ISA} kernels that other code may end up with:${violations}")
endif()
message(STATUS "${ISA}: ${defined} symbols, none that can leak")
