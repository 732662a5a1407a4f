# DELTASERVE_CUDA: builds kernels/cuda. On by default where a CUDA toolkit of version 12 or later is
# found, but not with sanitizers, which nvcc does not know; tests/cuda_emulation runs the same
# sources under them.
find_program(DELTASERVE_NVCC nvcc HINTS /usr/local/cuda/bin)
set(cuda_default OFF)
if(DELTASERVE_NVCC AND NOT DELTASERVE_SANITIZE)
  execute_process(COMMAND ${DELTASERVE_NVCC} --version OUTPUT_VARIABLE nvcc_version)
  if(nvcc_version MATCHES "release ([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 12)
    set(cuda_default ON)
  endif()
endif()
option(DELTASERVE_CUDA "Build the CUDA backend (needs CUDA 12)" ${cuda_default})

if(DELTASERVE_CUDA)
  set(CMAKE_CUDA_COMPILER ${DELTASERVE_NVCC} CACHE FILEPATH "")
  # A100 and H100, and PTX for what comes after them.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "")
  if(CCACHE_PROGRAM)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc can.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA_STANDARD 20)
  find_package(CUDAToolkit 12 REQUIRED)
endif()
