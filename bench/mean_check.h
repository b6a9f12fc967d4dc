// Checks means of float32 vectors against the mean in double precision.
//
//   M  sum over the rounds of the true means    S  sum over the rounds of the results of a method
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace laconic::bench {

// How far a method's results may be from the true means.
struct ErrorBound {
  double error_max = 0;       // |M - S|^2 / |M|^2
  double projection_max = 0;  // |<S, M> / <S, S> - 1|; 0: not looked at
};

// With error feedback, what one round drops a later one sends: sums over the rounds are compared,
// and what is missing from S must be no part of S, which <S, M> / <S, S> = 1 says.
class MeanCheck {
 public:
  explicit MeanCheck(size_t elements) : total_(elements, 0.0) {}

  // The vectors whose mean is next.
  void start_round(const std::vector<std::span<const float>>& vectors);
  // Errors: DataLoss with the numbers if the result is outside the bound.
  absl::Status check(const std::string& method, const ErrorBound& bound,
                     std::span<const float> result);

 private:
  std::vector<double> total_;                         // M
  std::map<std::string, std::vector<float>> totals_;  // S
};

}  // namespace laconic::bench
