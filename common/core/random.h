// Counter-based random numbers: the same (seed, stream, index) gives the same number on every
// machine, whatever was drawn before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace laconic::core {

// A stream of uniform 64-bit numbers named by (seed, stream). Satisfies
// UniformRandomBitGenerator. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", OOPSLA 2014 (SplitMix64).
class Random {
 public:
  using result_type = uint64_t;

  explicit Random(uint64_t seed, uint64_t stream = 0) : state_(mix(seed + mix(stream + kGamma))) {}

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }

  uint64_t operator()() { return mix(state_ += kGamma); }

  // The number that operator() gives after `index` others; the stream does not move.
  uint64_t at(uint64_t index) const { return mix(state_ + (index + 1) * kGamma); }

  // Uniform in 0..bound-1; bound >= 1. The bias is below bound / 2^64.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<Uint128>((*this)()) * bound) >> 64);
  }

  // Uniform in [0, 1).
  double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

  // A permutation of 0..count-1 (Fisher-Yates).
  std::vector<int64_t> permutation(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    for (uint64_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[below(i)]);
    }
    return order;
  }

 private:
  // g++ and clang++ have it; ISO C++ does not, and -Wpedantic says so without the prefix.
  __extension__ using Uint128 = unsigned __int128;

  static constexpr uint64_t kGamma = 0x9E3779B97F4A7C15;

  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace laconic::core
