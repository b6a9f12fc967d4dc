// How long to wait before the next attempt: longer after each failure, never twice the same.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/core/random.h"

namespace laconic::core {

// Exponential back-off with full jitter in the upper half, so that many workers that lost the same
// server do not come back in step. Pure: the caller waits. Not thread-safe.
class Backoff {
 public:
  struct Limits {
    absl::Duration first = absl::Milliseconds(200);
    absl::Duration longest = absl::Seconds(5);
    double factor = 2;
  };

  Backoff(Limits limits, uint64_t seed) : limits_(limits), next_(limits.first), random_(seed) {}

  // The wait before the next attempt: uniform in [w/2, w], w = min(longest, first * factor^k)
  // after k calls since the last reset().
  absl::Duration next() {
    const absl::Duration longest_now = next_;
    next_ = std::min(limits_.longest, next_ * limits_.factor);
    return longest_now * (0.5 + 0.5 * random_.uniform());
  }

  // Call after a success.
  void reset() { next_ = limits_.first; }

 private:
  Limits limits_;
  absl::Duration next_;
  Random random_;
};

}  // namespace laconic::core
