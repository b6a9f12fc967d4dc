// How an encoder fits the scales of one group.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/compress/level_rules.h"
#include "common/core/payload_size.h"

namespace laconic::compress {

// A sum of float64 in a fixed order that vector instructions can keep: term i goes to lane i mod
// 16, and at the end the upper half of the lanes is added to the lower half until one is left.
class LaneSums {
 public:
  void add(int64_t i, double term) { lanes_[static_cast<size_t>(i) % kLanes] += term; }
  double total() const;
  // Lane by lane.
  LaneSums& operator+=(const LaneSums& other);

 private:
  static constexpr size_t kLanes = 16;
  std::array<double, kLanes> lanes_{};
};

// Scales for a group, never infinite. group: finite, not empty. code: not kFloat32.
Scales fit_scales(core::ValueCode code, std::span<const float> group);

}  // namespace laconic::compress
