#include "bench/vectors.h"

#include <cmath>
#include <numbers>

#include "common/core/random.h"

namespace laconic::bench {

std::vector<float> normal_numbers(uint64_t seed, int64_t count) {
  core::Random random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double angle = 2 * std::numbers::pi * random.uniform();
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < values.size()) {
      values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
  return values;
}

double relative_error(std::span<const float> a, std::span<const float> b) {
  double error = 0;
  double energy = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    error += difference * difference;
    energy += static_cast<double>(a[i]) * a[i];
  }
  return energy == 0 ? 0 : error / energy;
}

}  // namespace laconic::bench
