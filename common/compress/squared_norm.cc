#include "common/compress/squared_norm.h"

#include <array>
#include <cstddef>

namespace laconic::compress {

double squared_norm(std::span<const float> values) {
  // Independent sums, so that the compiler can use vector registers.
  constexpr size_t kLanes = 16;
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double x = values[i + lane];
      sums[lane] += x * x;
    }
  }
  double sum = 0;
  for (const double lane : sums) {
    sum += lane;
  }
  for (; i < values.size(); ++i) {
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return sum;
}

}  // namespace laconic::compress
