# Fails unless the matrix products for AMX and their emulation share every line but the unit:
# cmake -DROOT=REPOSITORY -P check_tile_unit.cmake
#
# Both files include engine/cpu/gemm/tiles.h and instantiate it; the headers that hold the products know no unit
# and have no conditions, but for the one that names the compiler. bf16_round.h and streaming.h, which they include, go
# by the instruction set and know no unit either; the emulation is compiled both ways.
cmake_minimum_required(VERSION 3.25)

set(wrong "")
foreach(header tiles batch bf16_pack bf16_round streaming)
  file(READ "${ROOT}/engine/cpu/gemm/${header}.h" text)
  string(REPLACE "#if defined(__clang__)" "" text "${text}")
  if(header MATCHES "bf16_round|streaming")
    string(REGEX REPLACE "#(el)?if defined\\(__(AVX512BF16|AVX512F|AVX2|SSE2)__\\)" "" text "${text}")
  endif()
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  foreach(forbidden "#[ \t]*(el)?if" "_tile_" "asm" "immintrin" "cpu_amx" "cpu_emulated" "is_same" "requires")
    if(text MATCHES "${forbidden}")
      string(APPEND wrong "  engine/cpu/gemm/${header}.h: ${CMAKE_MATCH_0}\n")
    endif()
  endforeach()
endforeach()
foreach(unit "engine/cpu/gemm/amx.cpp;Amx" "tests/engine/emulated_tiles.cpp;Emulated")
  list(GET unit 0 file)
  list(GET unit 1 name)
  file(READ "${ROOT}/${file}" text)
  foreach(needed "#include \"engine/cpu/gemm/tiles.h\"" "{ gemm_tiles<${name}>(call); }")
    string(FIND "${text}" "${needed}" at)
    if(at EQUAL -1)
      string(APPEND wrong "  ${file} lacks ${needed}\n")
    endif()
  endforeach()
endforeach()
if(wrong)
  message(FATAL_ERROR "The products on AMX and on the emulated unit differ in more than the unit:\n${wrong}")
endif()
