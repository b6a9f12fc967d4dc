// 64-bit digests: equal inputs give equal digests on every rank. Not cryptographic.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace laconic::core {

// XXH3-64 of the bytes of `values`, in memory order. Source: xxHash 0.8, XXH3_64bits.
uint64_t digest(std::span<const float> values);
uint64_t digest(std::span<const uint8_t> bytes);

// 16 hexadecimal digits.
std::string format_digest(uint64_t digest);

}  // namespace laconic::core
