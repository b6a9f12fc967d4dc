// Which elements are sent when a seed decides: equal on all ranks, so no position is on the wire.
//
//   d  elements    k  kept    P  parts
#pragma once

#include <cstdint>
#include <vector>

namespace laconic::compress {

// k of 0..d-1, ascending, every subset of k equally likely. k: 0..d; d: 1..2^32.
//
// With a bitmap of d bits and the numbers of core::Random(seed, 1): for j = d-k .. d-1 draw
// t = below(j + 1) and set bit t, or bit j where t is set already.
// Cost: k draws, d bits.
// Source: Floyd's algorithm; Bentley, Floyd, "A Sample of Brilliance", CACM 1987.
std::vector<uint32_t> random_subset(uint64_t seed, int64_t elements, int64_t kept);

// Part `part` of a random partition of 0..d-1 into P parts, ascending. Part p has the size of
// core::part_begin(d, p + 1, P) - core::part_begin(d, p, P); every partition into parts of these
// sizes is equally likely. part: 0..P-1.
//
// Halves are split off until one part is left: parts low..high-1 of node i (the root is 1) become
// low..mid-1 of node 2 i and mid..high-1 of node 2 i + 1, mid = floor((low + high) / 2); which of
// the node's positions go to the first is Floyd's choice with core::Random(seed, 2^32 + i).
// Cost: about d draws, 4 d bytes.
std::vector<uint32_t> random_part(uint64_t seed, int64_t elements, int64_t part, int64_t parts);

}  // namespace laconic::compress
