// bfloat16 magnitudes: the upper half of a float32, 8 exponent and 7 fraction bits. Scales of
// payloads are such numbers: finite, sign bit clear.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace laconic::core {

inline constexpr uint16_t kBf16Largest = 0x7F7F;  // 3.3895e38

// False for infinities, NaNs, negative numbers and minus zero.
inline constexpr bool is_bf16_magnitude(uint16_t bits) {
  return bits <= kBf16Largest;
}

inline constexpr float bf16_value(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// The bfloat16 nearest to float32(x), ties to even, never an infinity. x: finite, >= 0.
inline constexpr uint16_t bf16_nearest(double x) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(std::min<uint32_t>(rounded, kBf16Largest));
}

// The smallest bfloat16 that is at least x. x: 0..3.3895e38.
inline constexpr uint16_t bf16_up(double x) {
  const auto single = static_cast<float>(x);
  const auto bits = std::bit_cast<uint32_t>(single);
  // The next larger float32 has the next larger bits.
  const uint32_t at_least = static_cast<double>(single) < x ? bits + 1 : bits;
  return static_cast<uint16_t>((at_least + 0xFFFF) >> 16);
}

// The largest bfloat16 that is at most x. x: finite, >= 0.
inline constexpr uint16_t bf16_down(double x) {
  const auto single = static_cast<float>(x);
  const auto bits = std::bit_cast<uint32_t>(single);
  return static_cast<uint16_t>((static_cast<double>(single) > x ? bits - 1 : bits) >> 16);
}

}  // namespace laconic::core
