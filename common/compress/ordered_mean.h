// The mean of float32 vectors in an order that all ranks keep: the same bits on every machine.
#pragma once

#include <cstdint>
#include <span>

namespace laconic::compress {

// out_i = float32(sum over the terms, in their order, in double, / P).
//
//   terms  [P] each out.size() bytes of float32 as they lie in memory, at any alignment; P >= 1
//   out    bytes of float32, a multiple of 4; no term overlaps it, unless it is that term
//
// Cost: one pass over the terms.
void ordered_mean(std::span<const uint8_t* const> terms, std::span<uint8_t> out);

}  // namespace laconic::compress
