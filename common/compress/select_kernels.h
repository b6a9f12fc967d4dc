// The one pass over memory of top-k: optionally a <- decay a + v, and in the same loop the elements
// at or above a threshold. select.h has the algorithm; this is its inner loop, three times.
//
// Plain structs only: select_kernels_avx2.cc and select_kernels_avx512.cc include this (simd.h says
// why).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/compress/simd.h"

namespace laconic::compress {

// Elements one call may take.
inline constexpr size_t kSelectBlock = 4096;
// Elements behind the last selected one that a call may overwrite: whole registers are written,
// because a masked compressing store to memory is microcoded on some machines and 2.5 times slower.
inline constexpr size_t kSelectSlack = 16;

// Magnitude bits: those of a float32 without its sign. They grow with the magnitude; infinities
// and NaNs are above all numbers.
inline constexpr uint32_t kMagnitudeMask = 0x7FFFFFFFU;
inline constexpr uint32_t kInfinityBits = 0x7F800000U;

struct SelectBlock {
  const float* a = nullptr;  // [count]
  size_t count = 0;          // at most kSelectBlock
  // nullptr: `a` is only read. Else [count], and decay a + v is selected from and written to `sum`,
  // which is `a`.
  const float* v = nullptr;
  float* sum = nullptr;
  float decay = 0;
  uint32_t first_position = 0;  // of a[0]
  uint32_t threshold = 0;       // magnitude bits, at most 2^31 - 1
};

struct SelectOutput {
  uint32_t* positions = nullptr;  // room for `count` + SelectBlock::count + kSelectSlack
  float* values = nullptr;        // likewise
  size_t count = 0;               // grows by what is selected
  uint32_t largest = 0;           // grows to the largest magnitude bits seen, selected or not
};

// Specification: a plain loop. The three of them give the same bits.
void select_block_scalar(const SelectBlock& in, SelectOutput& out);
void select_block_avx2(const SelectBlock& in, SelectOutput& out);
void select_block_avx512(const SelectBlock& in, SelectOutput& out);

using SelectBlockFunction = void (*)(const SelectBlock&, SelectOutput&);
SelectBlockFunction select_block_function(SimdLevel level);

}  // namespace laconic::compress
