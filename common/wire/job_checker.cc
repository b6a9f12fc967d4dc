#include "common/wire/job_checker.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace laconic::wire {
namespace {

constexpr size_t kPathMax = 4096;
constexpr int32_t kNanosPerSecond = 1'000'000'000;

std::string to_text(const Range& range) {
  if (std::isinf(range.high)) {
    return absl::StrFormat("a finite number greater than %g", range.low);
  }
  return range.above ? absl::StrFormat("greater than %g, at most %g", range.low, range.high)
                     : absl::StrFormat("%g..%g", range.low, range.high);
}

}  // namespace

void Checker::add(std::string path, std::string description) {
  violations_.push_back({std::move(path), std::move(description)});
}

void Checker::missing(std::string path, const std::string& allowed) {
  add(std::move(path), absl::StrCat("is missing; allowed: ", allowed));
}

void Checker::integer(const std::string& path, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    add(path, absl::StrCat("is ", value, "; allowed: ", low, "..", high));
  }
}

void Checker::number(const std::string& path, double value, const Range& range) {
  // Written so that NaN falls through to the violation.
  const bool low_ok = range.above ? value > range.low : value >= range.low;
  if (low_ok && value <= range.high && std::isfinite(value)) {
    return;
  }
  add(path, absl::StrFormat("is %g; allowed: %s", value, to_text(range)));
}

void Checker::required_integer(const std::string& path, bool set, int64_t value, int64_t low,
                               int64_t high) {
  if (set) {
    integer(path, value, low, high);
  } else {
    missing(path, absl::StrCat(low, "..", high));
  }
}

void Checker::required_number(const std::string& path, bool set, double value, const Range& range) {
  if (set) {
    number(path, value, range);
  } else {
    missing(path, to_text(range));
  }
}

void Checker::file(const std::string& path, const std::string& value, bool required) {
  if (value.empty() && required) {
    missing(path, "the path of a file on the nodes");
  } else if (value.size() > kPathMax) {
    add(path, absl::StrCat("is ", value.size(), " bytes long; allowed: at most ", kPathMax));
  } else if (value.find('\0') != std::string::npos) {
    add(path, "contains a NUL byte; allowed: the path of a file on the nodes");
  }
}

void Checker::duration(const std::string& path, const google::protobuf::Duration& value,
                       int64_t seconds_max, const std::string& allowed) {
  const bool sane = value.nanos() >= 0 && value.nanos() < kNanosPerSecond;
  const bool in_range =
      value.seconds() >= 1 &&
      (value.seconds() < seconds_max || (value.seconds() == seconds_max && value.nanos() == 0));
  if (!sane || !in_range) {
    const double seconds = static_cast<double>(value.seconds()) + value.nanos() * 1e-9;
    add(path, absl::StrFormat("is %gs; allowed: %s", seconds, allowed));
  }
}

}  // namespace laconic::wire
