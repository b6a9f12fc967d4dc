// The stream of core::Random(seed, ...) for rounding at random: element i takes at(i), so order and
// threads do not matter, and ranks round independently, so their errors average out.
#pragma once

#include <cstdint>

namespace laconic::compress {

// 2^33 + rank: apart from the streams of random_subset.h.
inline uint64_t rounding_stream(int rank) {
  return (uint64_t{1} << 33) + static_cast<uint64_t>(rank);
}

}  // namespace laconic::compress
