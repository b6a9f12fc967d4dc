// Vectors that benchmarks work on, and how far two are apart.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace laconic::bench {

// `count` normal numbers, the same on every machine for one seed.
std::vector<float> normal_numbers(uint64_t seed, int64_t count);

// |a - b|^2 / |a|^2, in double; 0 where a is 0.
double relative_error(std::span<const float> a, std::span<const float> b);

}  // namespace laconic::bench
