// Collects the violations of a job file; each check adds what is allowed.
#pragma once

#include <google/protobuf/duration.pb.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "common/wire/job_spec.h"

namespace laconic::wire {

// A range of doubles; `above` leaves its lower end out.
struct Range {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool above = false;
};

// Keeps violations in the order in which they are found. One thread.
class Checker {
 public:
  std::vector<Violation> take() { return std::move(violations_); }

  void add(std::string path, std::string description);
  void missing(std::string path, const std::string& allowed);

  // A violation if `value` is outside [low, high].
  void integer(const std::string& path, int64_t value, int64_t low, int64_t high);
  // A violation if `value` is outside the range, NaN or infinite.
  void number(const std::string& path, double value, const Range& range);
  // The same for fields that have no default: `set` tells whether the file has it.
  void required_integer(const std::string& path, bool set, int64_t value, int64_t low,
                        int64_t high);
  void required_number(const std::string& path, bool set, double value, const Range& range);

  // A path on a node; what it names is looked at by the trainer there.
  void file(const std::string& path, const std::string& value, bool required);

  // 1 s to seconds_max; `allowed` says the same in the words of a job file.
  void duration(const std::string& path, const google::protobuf::Duration& value,
                int64_t seconds_max, const std::string& allowed);

 private:
  std::vector<Violation> violations_;
};

}  // namespace laconic::wire
