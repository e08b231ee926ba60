# Fails on an include that runs up the house: cmake -DROOT=REPOSITORY -P tests/check_includes.cmake
cmake_minimum_required(VERSION 3.25)

# One line per folder: what its files may include, as path prefixes from the repository's root. The longest folder that
# holds a file decides: a backend (engine/cpu, engine/cuda) knows the kernel contract and leaf headers, not the engine, and
# engine/meta, which stands in for these two, besides how much memory they take; the gate for strangers' files (data/input)
# knows leaf headers only, and all who read files know it; inference (train/inference) knows no training, training
# (train/core) no files but a model's; what host programs include (train/door/crisp) needs the
# standard library and leaf headers alone. Exercises are compiled outside of the house, with one header of
# their own.
set(contract       engine/backend.h engine/bit_cast.h engine/checked.h engine/context.h engine/device.h engine/dtype.h
                   engine/error.h engine/fail.h engine/formulas.h engine/host_memory.h engine/inline.h
                   engine/kernel_list.h engine/kernels.h engine/random.h engine/system.h)
set(engine         engine/)
set(engine/cpu     engine/cpu/ ${contract})
set(engine/cuda    engine/cuda/ ${contract})
set(engine/meta    engine/meta/ engine/cpu/memory/allocator.h engine/cpu/memory/workspace.h engine/cuda/rules.h ${contract})
set(data/input     data/input/ engine/error.h engine/fail.h)
set(weights        weights/ data/input/ engine/)
set(data           data/ engine/)
set(model          model/ data/input/ engine/)
set(below          model/ data/ weights/ engine/)
set(train/inference train/inference/ ${below})
set(train/core     train/core/ ${train/inference})
set(train/durable  train/durable/ data/ weights/ engine/)
set(train/run      train/run/ train/durable/ ${train/core})
set(train/page     train/page/ data/input/ engine/)
set(train/study    train/study/ train/page/ ${train/run})
set(train/door     train/door/ ${train/core})
set(train/door/crisp engine/error.h train/core/trainer_options.h train/inference/choices.h)
set(tools          tools/ train/ model/ data/ weights/ engine/)
set(tools/lessons/exercises exercise.h)
set(tools/lessons/solutions exercise.h)
set(tools/lessons/grader    ${tools} exchange.h exercise.h)
set(folders engine engine/cpu engine/cuda engine/meta data/input weights data model train/inference train/core train/durable
            train/run train/page train/study train/door train/door/crisp tools tools/lessons/exercises tools/lessons/solutions
            tools/lessons/grader)

# The root of the engine and its operations know no device: one file of theirs includes the backends.
set(is_root "^engine/(ops/)?[^/]*$")
set(is_backend "^engine/(cpu|cuda|meta)/")
set(may_include_backends "^engine/backend\\.cpp$")

# fmt is private to source files, so that a program which uses the engine or a model needs none; train/ and tools/ print
# with it.
set(without_fmt "^((engine|weights|data|model)/.*\\.h$|train/door/crisp/)")

# Eigen is private to the files whose path matches: in no header, so that nobody who links the engine needs it.
set(may_include_eigen "^engine/cpu/.*\\.cpp$")

if(NOT IS_DIRECTORY "${ROOT}")
  message(FATAL_ERROR "usage: cmake -DROOT=REPOSITORY -P check_includes.cmake")
endif()

set(wrong "")
set(count 0)
foreach(top engine weights data model train tools)
  file(GLOB_RECURSE sources RELATIVE "${ROOT}" "${ROOT}/${top}/*.h" "${ROOT}/${top}/*.hpp" "${ROOT}/${top}/*.inc"
    "${ROOT}/${top}/*.cpp" "${ROOT}/${top}/*.cu" "${ROOT}/${top}/*.cuh")
  foreach(source IN LISTS sources)
    math(EXPR count "${count} + 1")
    get_filename_component(folder "${source}" DIRECTORY)
    while(NOT folder IN_LIST folders)
      get_filename_component(folder "${folder}" DIRECTORY)
    endwhile()
    file(READ "${ROOT}/${source}" text)
    string(REGEX MATCHALL "\n[ \t]*#[ \t]*include[ \t]*[\"<][^\">\n]+" includes "\n${text}")
    foreach(include IN LISTS includes)
      string(REGEX REPLACE ".*[\"<]" "" path "${include}")
      if(path MATCHES "^(unsupported/)?Eigen/" OR path MATCHES "^eigen3/")
        if(NOT source MATCHES "${may_include_eigen}")
          string(APPEND wrong "  ${source} includes ${path}: Eigen belongs to engine/cpu/*.cpp only\n")
        endif()
        continue()
      endif()
      if(source MATCHES "${without_fmt}" AND NOT source STREQUAL "engine/fail.h" AND
         (path MATCHES "^fmt/" OR path STREQUAL "engine/fail.h"))
        string(APPEND wrong "  ${source} includes ${path}: fmt belongs to source files only\n")
        continue()
      endif()
      if(include MATCHES "<")
        continue()
      endif()
      if(source MATCHES "${is_root}" AND path MATCHES "${is_backend}" AND NOT source MATCHES "${may_include_backends}")
        string(APPEND wrong "  ${source} includes ${path}: the root of the engine knows no device\n")
        continue()
      endif()
      set(allowed FALSE)
      foreach(prefix IN LISTS ${folder})
        string(FIND "${path}" "${prefix}" at)
        if(at EQUAL 0)
          set(allowed TRUE)
        endif()
      endforeach()
      if(NOT allowed)
        string(REPLACE ";" " " may "${${folder}}")
        string(APPEND wrong "  ${source} includes \"${path}\": ${folder} may include ${may}\n")
      endif()
    endforeach()
  endforeach()
endforeach()

if(count EQUAL 0)
  message(FATAL_ERROR "No source files under ${ROOT}")
endif()
if(wrong)
  message(FATAL_ERROR "Includes that run up (or lack the full path from the repository's root):\n${wrong}")
endif()
message(STATUS "${count} files, no include runs up")
