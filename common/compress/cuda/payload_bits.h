// Bits of payloads in global memory, read and written as aligned words of 32 bits. The first bit is
// the lowest bit of the first byte (docs/wire-format.md), so on a little-endian machine bit i is
// bit i % 32 of word i / 32.
#pragma once

#include <cstdint>

#include "common/compress/cuda/cta.h"

namespace laconic::compress::cuda {

// Payload buffers have whole words: so many bytes for a payload of `bytes`.
inline constexpr int64_t payload_capacity(int64_t bytes) {
  return (bytes + 15) / 16 * 16;
}

// bits: 1..32. The word behind the last one asked for is not touched.
LACONIC_DEVICE inline uint32_t load_payload_bits(const uint32_t* words, uint64_t at,
                                                 uint32_t bits) {
  const auto shift = static_cast<uint32_t>(at % 32);
  const uint32_t* word = words + at / 32;
  uint64_t both = word[0];
  if (shift + bits > 32) {
    both |= static_cast<uint64_t>(word[1]) << 32;
  }
  return static_cast<uint32_t>((both >> shift) & ((uint64_t{1} << bits) - 1));
}

// Sets bits of memory that was zero, beside others that do the same to the bits around them.
template <typename Cta>
LACONIC_DEVICE void or_payload_bits(Cta& cta, uint32_t* words, uint64_t at, uint32_t value,
                                    uint32_t bits) {
  const auto shift = static_cast<uint32_t>(at % 32);
  uint32_t* word = words + at / 32;
  cta.atomic_or(word, value << shift);
  if (shift + bits > 32) {
    cta.atomic_or(word + 1, value >> (32 - shift));
  }
}

}  // namespace laconic::compress::cuda
