// Numbers and texts as people read them.
#pragma once

#include <cstddef>
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

// The first `bytes_max` bytes of `text`, or up to 3 fewer: no UTF-8 sequence is cut in two.
// Protobuf writes half a sequence but does not read it back, so one in a stored or sent message
// would make the whole message unreadable.
std::string shortened(const std::string& text, size_t bytes_max);

}  // namespace laconic::core
