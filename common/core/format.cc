#include "common/core/format.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace laconic::core {

std::string format_bytes(int64_t bytes) {
  if (bytes < 1000) {
    return absl::StrCat(bytes, " B");
  }
  constexpr std::array<const char*, 6> kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.5 would be printed as "1000".
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : (value < 99.95 ? 1 : 0);
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string format_duration(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) {
    return "for ever";
  }
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 9.95) {
    return absl::StrFormat("%.1f s", seconds);
  }
  const int64_t whole = std::llround(seconds);
  if (whole < 60) {
    return absl::StrCat(whole, " s");
  }
  if (whole < 3600) {
    return absl::StrCat(whole / 60, " min ", whole % 60, " s");
  }
  return absl::StrCat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string format_count(int64_t count) {
  std::string digits = absl::StrCat(count < 0 ? -count : count);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return count < 0 ? "-" + digits : digits;
}

std::string format_ratio(double ratio) {
  if (ratio >= 99.5) {
    return format_count(std::llround(ratio)) + "x";
  }
  const int decimals = ratio < 0.995 ? 2 : (ratio < 9.95 ? 1 : 0);
  return absl::StrFormat("%.*fx", decimals, ratio);
}

std::string shortened(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) {
    return text;
  }
  size_t end = bytes_max;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return text.substr(0, end);
}

}  // namespace laconic::core
