#include "bench/mean_check.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace laconic::bench {

void MeanCheck::start_round(const std::vector<std::span<const float>>& vectors) {
  const auto ranks = static_cast<double>(vectors.size());
  for (size_t i = 0; i < total_.size(); ++i) {
    double sum = 0;
    for (const std::span<const float> vector : vectors) {
      sum += vector[i];
    }
    total_[i] += sum / ranks;
  }
}

absl::Status MeanCheck::check(const std::string& method, const ErrorBound& bound,
                              std::span<const float> result) {
  std::vector<float>& total = totals_[method];
  total.resize(total_.size(), 0.0F);
  double error = 0;
  double energy = 0;
  double product = 0;
  double square = 0;
  for (size_t i = 0; i < total.size(); ++i) {
    total[i] += result[i];
    const double s = total[i];
    const double m = total_[i];
    error += (m - s) * (m - s);
    energy += m * m;
    product += s * m;
    square += s * s;
  }
  const double relative = error / energy;
  const double projection = std::abs(product / square - 1);
  // Written so that a NaN is outside.
  const bool near = relative <= bound.error_max;
  const bool along = bound.projection_max == 0 || projection <= bound.projection_max;
  if (near && along) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(method, ": the mean is wrong: relative error ", relative,
                                          ", limit ", bound.error_max, "; projection off by ",
                                          projection, ", limit ", bound.projection_max));
}

}  // namespace laconic::bench
