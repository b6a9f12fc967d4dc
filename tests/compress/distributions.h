// Random vectors of the three distributions that the project's tables use, and the error of a copy.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "common/core/random.h"
#include "tests/compress/test_vectors.h"

namespace laconic::compress {

enum class Distribution : uint8_t { kGauss, kLaplace, kStudent3 };

inline std::vector<float> draw(Distribution distribution, uint64_t seed, int64_t count) {
  std::vector<float> values = gauss(seed, count);
  core::Random random(seed, 1);
  for (float& value : values) {
    if (distribution == Distribution::kLaplace) {
      const double u = random.uniform();
      value = static_cast<float>(std::log(1 - random.uniform()) * (u < 0.5 ? 1 : -1));
    } else if (distribution == Distribution::kStudent3) {
      // A normal over the root of a third of the sum of three squared ones.
      double squares = 0;
      for (const float x : gauss(random(), 3)) {
        squares += static_cast<double>(x) * x;
      }
      value = static_cast<float>(value / std::sqrt(squares / 3));
    }
  }
  return values;
}

// |out - in|^2 / |in|^2.
inline double error_ratio(const std::vector<float>& in, const std::vector<float>& out) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const double difference = static_cast<double>(out[i]) - static_cast<double>(in[i]);
    error += difference * difference;
    norm += static_cast<double>(in[i]) * static_cast<double>(in[i]);
  }
  return error / norm;
}

}  // namespace laconic::compress
