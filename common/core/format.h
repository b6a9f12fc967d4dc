// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace laconic::core {

// "0 B", "812 B", "3.5 MB": powers of 1000, three significant digits.
std::string format_bytes(int64_t bytes);

// "45 s", "3 min 20 s", "2 h 5 min"; below ten seconds one decimal: "4.2 s".
std::string format_duration(absl::Duration duration);

// "421,642".
std::string format_count(int64_t count);

// "504x", "1,020x", "3.4x", "0.50x".
std::string format_ratio(double ratio);

}  // namespace laconic::core
