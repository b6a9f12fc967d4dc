// Bit streams of codes. Static functions: each kernel file must keep its own copy (simd.h).
#pragma once

#include "common/compress/quantize_kernels.h"

namespace laconic::compress {

// bits: 1..64; word < 2^bits.
static inline void put_code_bits(CodeSink& sink, uint64_t word, int bits) {
  sink.pending |= word << sink.bits;
  const int total = sink.bits + bits;
  if (total < 64) {
    sink.bits = total;
    return;
  }
  __builtin_memcpy(sink.out, &sink.pending, sizeof sink.pending);
  sink.out += sizeof sink.pending;
  // Two shifts, because 64 - sink.bits can be 64.
  sink.pending = (word >> 1) >> (63 - sink.bits);
  sink.bits = total - 64;
}

// bits: 1..64, not behind the end.
static inline uint64_t get_code_bits(CodeSource& source, int bits) {
  const uint8_t* bytes = source.bytes + source.at / 8;
  const size_t left = source.size - source.at / 8;
  const auto shift = static_cast<int>(source.at % 8);
  uint64_t word = 0;
  uint64_t next = 0;  // the ninth byte
  if (left > sizeof word) {
    __builtin_memcpy(&word, bytes, sizeof word);
    next = bytes[sizeof word];
  } else {
    for (size_t i = 0; i < left; ++i) {
      word |= uint64_t{bytes[i]} << (8 * i);
    }
  }
  word = (word >> shift) | ((next << 1) << (63 - shift));
  source.at += static_cast<size_t>(bits);
  return word & (~uint64_t{0} >> (64 - bits));
}

}  // namespace laconic::compress
