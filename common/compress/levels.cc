#include "common/compress/levels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/core/bfloat16.h"

namespace laconic::compress {
namespace {

using core::ValueCode;

float absolute_max(std::span<const float> group) {
  float largest = 0;
  for (const float v : group) {
    largest = std::max(largest, std::abs(v));
  }
  return largest;
}

// Of those above the threshold.
double sum_of_magnitudes(std::span<const float> group, double threshold) {
  LaneSums sums;
  int64_t i = 0;
  for (const float v : group) {
    const double magnitude = std::abs(static_cast<double>(v));
    sums.add(i++, magnitude > threshold ? magnitude : 0);
  }
  return sums.total();
}

Scales fit_two_levels(std::span<const float> group) {
  const auto count = static_cast<int64_t>(group.size());
  const double total = sum_of_magnitudes(group, -1);
  double low = total / static_cast<double>(count);
  double high = low;
  double threshold = kFirstThreshold * low;
  for (int step = 0; step <= kLloydSteps; ++step) {
    const int64_t above = std::count_if(group.begin(), group.end(), [&](float v) {
      return std::abs(static_cast<double>(v)) > threshold;
    });
    if (above == 0 || above == count) {
      break;  // All magnitudes are alike: one level is enough.
    }
    const double high_sum = sum_of_magnitudes(group, threshold);
    high = high_sum / static_cast<double>(above);
    // Not a sum of its own: half the work for vector code. Never negative: rounding is monotone, so
    // no lane with fewer terms is larger. In a group of millions it may be far enough off to need
    // the minimum.
    low = std::min((total - high_sum) / static_cast<double>(count - above), high);
    threshold = (low + high) / 2;
  }
  return {core::bf16_nearest(low), core::bf16_nearest(high)};
}

Scales fit_log_levels(std::span<const float> group) {
  float smallest = std::numeric_limits<float>::max();
  for (const float v : group) {
    smallest = std::min(smallest, std::abs(v));
  }
  const float largest = absolute_max(group);
  // Double: the product can exceed float32.
  const bool wide = static_cast<double>(smallest) * kLogRangeMax < static_cast<double>(largest);
  return {wide ? uint16_t{0} : core::bf16_nearest(smallest), core::bf16_nearest(largest)};
}

}  // namespace

LaneSums& LaneSums::operator+=(const LaneSums& other) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    lanes_[lane] += other.lanes_[lane];
  }
  return *this;
}

double LaneSums::total() const {
  std::array<double, kLanes> lanes = lanes_;
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) {
      lanes[lane] += lanes[lane + half];
    }
  }
  return lanes[0];
}

Scales fit_scales(ValueCode code, std::span<const float> group) {
  switch (code) {
    case ValueCode::kFloat32:
      break;
    case ValueCode::kLinear8:
    case ValueCode::kLinear4: {
      const double ratio = static_cast<double>(absolute_max(group)) / linear_max(code);
      return {std::min(core::bf16_up(ratio), linear_scale_max(code)), 0};
    }
    case ValueCode::kLog4:
      return fit_log_levels(group);
    case ValueCode::kTwoLevels:
      return fit_two_levels(group);
    case ValueCode::kSign:
      return {core::bf16_nearest(sum_of_magnitudes(group, -1) / static_cast<double>(group.size())),
              0};
  }
  return {0, 0};
}

}  // namespace laconic::compress
