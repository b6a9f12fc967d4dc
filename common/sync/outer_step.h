// The outer optimizer of local methods: SGD with Nesterov momentum over mean drifts.
//
//   m <- mu m + D;  theta <- theta - eta (D + mu m)
//
// Source: Douillard et al., "DiLoCo", arXiv 2311.08105.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace laconic::sync {

// Owned by one thread. Every rank takes the step itself and comes to the same bits.
class OuterStep {
 public:
  // rate: eta; momentum: mu; elements: d
  OuterStep(double rate, double momentum, int64_t elements);

  // theta, drift: [n], elements begin .. begin + n - 1 of the model. Cost: one pass.
  void apply(std::span<float> theta, std::span<const float> drift, int64_t begin = 0);

  // The momentum m, [d], to save and restore it.
  std::span<const float> velocity() const { return velocity_; }
  std::span<float> velocity() { return velocity_; }

 private:
  const double rate_;
  const double momentum_;
  std::vector<float> velocity_;  // m, [d]
};

}  // namespace laconic::sync
