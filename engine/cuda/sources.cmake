# What the backend is made of: for nvcc here, for the emulator in tests/engine/cuda.
set(CRISP_CUDA_KERNELS elementwise.cu epilogue.cu reduce.cu move.cu softmax.cu layer_norm.cu adamw.cu attention/forward.cu
  attention/backward.cu)
set(CRISP_CUDA_HOST answers.cpp backend.cpp branch.cpp cublas_lt.cpp gemm.cpp memory.cpp moments.cpp recording.cpp
  staging.cpp)
list(TRANSFORM CRISP_CUDA_KERNELS PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
list(TRANSFORM CRISP_CUDA_HOST PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
