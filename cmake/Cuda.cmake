# CUDA, if it was asked for: nvcc from CUDACXX, PATH or /usr/local/cuda.

if(NOT LACONIC_ENABLE_CUDA)
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(LACONIC_CUDA_ROOT /usr/local/cuda CACHE PATH "Where the CUDA toolkit is")
  find_program(LACONIC_NVCC nvcc HINTS ${LACONIC_CUDA_ROOT}/bin)
  if(NOT LACONIC_NVCC)
    message(FATAL_ERROR "LACONIC_ENABLE_CUDA is ON, but there is no nvcc: neither in CUDACXX nor in PATH nor in "
      "${LACONIC_CUDA_ROOT}/bin. Install the CUDA toolkit (12.4 or later), set CUDACXX, or use -DLACONIC_ENABLE_CUDA=OFF.")
  endif()
  set(CMAKE_CUDA_COMPILER ${LACONIC_NVCC})
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Machine code for A100 and H100/H200, and PTX that newer devices compile when they load it.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  # nvcc takes C++20 since 12.0; CMake 3.25 does not know.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

# Rounding as in the scalar code (no fused multiply-add); constexpr functions of other layers run on
# the device too.
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--expt-relaxed-constexpr>"
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${LACONIC_WERROR}>>:-Werror=all-warnings>")
if(LACONIC_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
