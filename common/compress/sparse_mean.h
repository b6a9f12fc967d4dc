// The mean of vectors of which only some elements are not zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace laconic::compress {

// P sparse vectors, one after the other.
struct SparseTerms {
  std::span<const uint32_t> positions;  // of each vector strictly ascending, below out.size()
  std::span<const float> values;
  std::span<const size_t> ends;  // [P] where each vector's elements end; P >= 1
};

// out_i = (x_0i + x_1i + ..) / P in float32, in this order; zero where no vector has an element.
//
// Cost: out.size() floats written, past the caches where they are more than fit, and O(kept).
void mean_of_kept(const SparseTerms& terms, std::span<float> out);

}  // namespace laconic::compress
