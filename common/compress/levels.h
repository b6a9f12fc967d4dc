// What the codes of one group stand for: fitted by the encoder, rebuilt by the decoder from the
// scales alone. Only + - * / of IEEE 754 are used, so every machine gets the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/core/payload_size.h"

namespace laconic::compress {

// Scales of one group as they are sent; [1] is 0 where the code has one scale.
using Scales = std::array<uint16_t, 2>;

// Magnitudes in ascending order; `count` of them are in use.
struct Levels {
  std::array<float, 8> magnitude{};
  int count = 0;
};

// A sum of float64 in a fixed order that vector instructions can keep: term i goes to lane i mod
// 16, and at the end the upper half of the lanes is added to the lower half until one is left.
class LaneSums {
 public:
  void add(int64_t i, double term) { lanes_[static_cast<size_t>(i) % kLanes] += term; }
  double total() const;

 private:
  static constexpr size_t kLanes = 16;
  std::array<double, kLanes> lanes_{};
};

// Largest q of a linear code: 127 or 7.
int linear_max(core::ValueCode code);

// Largest scale of a linear code whose largest value is still a finite float32.
uint16_t linear_scale_max(core::ValueCode code);

// Scales for a group, never infinite. group: finite, not empty. code: not kFloat32.
Scales fit_scales(core::ValueCode code, std::span<const float> group);

// True if an encoder can make these scales: finite, not negative, in order, within limits.
bool valid_scales(core::ValueCode code, const Scales& scales);

// Levels of kLog4, kTwoLevels and kSign.
Levels make_levels(core::ValueCode code, const Scales& scales);

// Index of the level nearest to `magnitude`; ties to the lower one.
uint32_t nearest_level(const Levels& levels, float magnitude);

}  // namespace laconic::compress
