// Sums over vectors in double, in index order, so that equal inputs give equal bits everywhere.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

namespace laconic::core {

// a and b: [d].
inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

inline double norm(std::span<const double> a) {
  return std::sqrt(dot(a, a));
}

// |a - b|, both [d].
inline double distance(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return std::sqrt(sum);
}

// sum <- sum + factor a, both [d].
inline void add_scaled(double factor, std::span<const double> a, std::span<double> sum) {
  for (size_t i = 0; i < a.size(); ++i) {
    sum[i] += factor * a[i];
  }
}

}  // namespace laconic::core
