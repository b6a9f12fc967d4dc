// A clock that nobody sets: a corrected wall clock must not kill a trainer early.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace laconic::agent {

// Only differences mean something.
inline absl::Time monotonic_now() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace laconic::agent
