// Which vector instructions the kernels use, chosen once at run time.
//
// Kernels live in files *_avx2.cc and *_avx512.cc, compiled with those flags (CMakeLists.txt). Such
// a file includes <immintrin.h>, <cstdint>, <cstddef> and headers of plain structs only: an inline
// function of the standard library that it compiles could be the copy the linker keeps, and would
// then run on a machine without these instructions.
#pragma once

namespace laconic::compress {

enum class SimdLevel { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };

// What this machine can do: kAvx512 means F, BW, VL, DQ and VBMI2.
SimdLevel simd_supported();

// What kernels shall use: simd_supported(), or less where the environment variable LACONIC_SIMD is
// "scalar" or "avx2", or force_simd_level() said so.
SimdLevel simd_level();

// For tests and benchmarks; not while another thread encodes. Levels above simd_supported() are
// lowered to it. Returns the level from now on.
SimdLevel force_simd_level(SimdLevel level);

}  // namespace laconic::compress
