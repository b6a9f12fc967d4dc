#include "common/compress/levels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/core/bfloat16.h"

namespace laconic::compress {
namespace {

using core::ValueCode;

constexpr double kFirstThreshold = 1.23;  // times mean |v|; see value_coder.h
constexpr int kLloydSteps = 3;            // NMSE of a Gauss is then within 1 % of the optimum
constexpr int kLogLevels = 8;
constexpr double kLogRangeMax = 128;  // max / min from which on level 0 becomes zero

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

// x^(1/7) for x in 1..2^8 by Newton's method. Not std::pow: libraries differ in its last bit.
double seventh_root(double x) {
  constexpr int kNewtonSteps = 20;  // x = 1 needs the most, 13.
  double root = 2;
  for (int step = 0; step < kNewtonSteps; ++step) {
    const double cube = root * root * root;
    root = (6 * root + x / (cube * cube)) / 7;
  }
  return root;
}

Levels log_levels(double smallest, double largest) {
  Levels levels{.magnitude = {}, .count = kLogLevels};
  double level = smallest;
  const double step = smallest > 0 ? seventh_root(largest / smallest) : 2;
  if (smallest == 0) {
    level = largest / kLogRangeMax;
  }
  for (float& magnitude : levels.magnitude) {
    magnitude = static_cast<float>(level);
    level *= step;
  }
  levels.magnitude.front() = static_cast<float>(smallest);
  levels.magnitude.back() = static_cast<float>(largest);
  return levels;
}

}  // namespace

double LaneSums::total() const {
  std::array<double, kLanes> lanes = lanes_;
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) {
      lanes[lane] += lanes[lane + half];
    }
  }
  return lanes[0];
}

int linear_max(ValueCode code) {
  return code == ValueCode::kLinear8 ? 127 : 7;
}

uint16_t linear_scale_max(ValueCode code) {
  return core::bf16_down(static_cast<double>(std::numeric_limits<float>::max()) / linear_max(code));
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

bool valid_scales(ValueCode code, const Scales& scales) {
  if (!core::is_bf16_magnitude(scales[0]) || !core::is_bf16_magnitude(scales[1])) {
    return false;
  }
  switch (code) {
    case ValueCode::kLinear8:
    case ValueCode::kLinear4:
      return scales[0] <= linear_scale_max(code);
    case ValueCode::kLog4: {
      // Rounding to bfloat16 can stretch the range a little, for denormals even by one half.
      const double range = static_cast<double>(core::bf16_value(scales[1]));
      const double smallest = static_cast<double>(core::bf16_value(scales[0]));
      return scales[0] <= scales[1] && (scales[0] == 0 || range <= 2 * kLogRangeMax * smallest);
    }
    case ValueCode::kTwoLevels:
      return scales[0] <= scales[1];
    case ValueCode::kFloat32:
    case ValueCode::kSign:
      return true;
  }
  return true;
}

Levels make_levels(ValueCode code, const Scales& scales) {
  const float first = core::bf16_value(scales[0]);
  const float second = core::bf16_value(scales[1]);
  switch (code) {
    case ValueCode::kFloat32:
    case ValueCode::kLinear8:
    case ValueCode::kLinear4:
      break;
    case ValueCode::kLog4:
      return log_levels(static_cast<double>(first), static_cast<double>(second));
    case ValueCode::kTwoLevels:
      return {.magnitude = {first, second}, .count = 2};
    case ValueCode::kSign:
      return {.magnitude = {first}, .count = 1};
  }
  return {};
}

uint32_t nearest_level(const Levels& levels, float magnitude) {
  uint32_t index = 0;
  for (int i = 1; i < levels.count; ++i) {
    const auto at = static_cast<size_t>(i);
    // Double: the sum of two large levels can exceed float32.
    const double middle = (static_cast<double>(levels.magnitude[at - 1]) +
                           static_cast<double>(levels.magnitude[at])) /
                          2;
    index += static_cast<double>(magnitude) > middle ? 1 : 0;
  }
  return index;
}

}  // namespace laconic::compress
