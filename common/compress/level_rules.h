// What the codes of one group stand for: rebuilt by the decoder from the scales alone. Only + - * /
// of IEEE 754 are used, so every machine gets the same bits. constexpr: kernels of GPUs call the
// same functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "common/core/bfloat16.h"
#include "common/core/payload_size.h"

namespace laconic::compress {

// Scales of one group as they are sent; [1] is 0 where the code has one scale.
using Scales = std::array<uint16_t, 2>;

// Magnitudes in ascending order; `count` of them are in use.
struct Levels {
  std::array<float, 8> magnitude{};
  int count = 0;
};

// Fit of two levels.
inline constexpr double kFirstThreshold = 1.23;  // times mean |v|; see value_coder.h
inline constexpr int kLloydSteps = 3;  // NMSE of a Gauss is then within 1 % of the optimum

inline constexpr int kLogLevels = 8;
inline constexpr double kLogRangeMax = 128;  // max / min from which on level 0 becomes zero

// Largest q of a linear code: 127 or 7.
inline constexpr int linear_max(core::ValueCode code) {
  return code == core::ValueCode::kLinear8 ? 127 : 7;
}

// Largest scale of a linear code whose largest value is still a finite float32.
inline constexpr uint16_t linear_scale_max(core::ValueCode code) {
  return core::bf16_down(static_cast<double>(std::numeric_limits<float>::max()) / linear_max(code));
}

// True if an encoder can make these scales: finite, not negative, in order, within limits.
inline constexpr bool valid_scales(core::ValueCode code, const Scales& scales) {
  if (!core::is_bf16_magnitude(scales[0]) || !core::is_bf16_magnitude(scales[1])) {
    return false;
  }
  switch (code) {
    case core::ValueCode::kLinear8:
    case core::ValueCode::kLinear4:
      return scales[0] <= linear_scale_max(code);
    case core::ValueCode::kLog4: {
      // Rounding to bfloat16 can stretch the range a little, for denormals even by one half.
      const double range = static_cast<double>(core::bf16_value(scales[1]));
      const double smallest = static_cast<double>(core::bf16_value(scales[0]));
      return scales[0] <= scales[1] && (scales[0] == 0 || range <= 2 * kLogRangeMax * smallest);
    }
    case core::ValueCode::kTwoLevels:
      return scales[0] <= scales[1];
    case core::ValueCode::kFloat32:
    case core::ValueCode::kSign:
      return true;
  }
  return true;
}

// x^(1/7) for x in 1..2^8 by Newton's method. Not std::pow: libraries differ in its last bit.
inline constexpr double seventh_root(double x) {
  constexpr int kNewtonSteps = 20;  // x = 1 needs the most, 13.
  double root = 2;
  for (int step = 0; step < kNewtonSteps; ++step) {
    const double cube = root * root * root;
    root = (6 * root + x / (cube * cube)) / 7;
  }
  return root;
}

inline constexpr Levels log_levels(double smallest, double largest) {
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

// Levels of kLog4, kTwoLevels and kSign.
inline constexpr Levels make_levels(core::ValueCode code, const Scales& scales) {
  const float first = core::bf16_value(scales[0]);
  const float second = core::bf16_value(scales[1]);
  switch (code) {
    case core::ValueCode::kFloat32:
    case core::ValueCode::kLinear8:
    case core::ValueCode::kLinear4:
      break;
    case core::ValueCode::kLog4:
      return log_levels(static_cast<double>(first), static_cast<double>(second));
    case core::ValueCode::kTwoLevels:
      return {.magnitude = {first, second}, .count = 2};
    case core::ValueCode::kSign:
      return {.magnitude = {first}, .count = 1};
  }
  return {};
}

// Index of the level nearest to `magnitude`; ties to the lower one.
inline constexpr uint32_t nearest_level(const Levels& levels, float magnitude) {
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
