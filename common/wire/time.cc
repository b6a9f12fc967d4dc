#include "common/wire/time.h"

#include <algorithm>
#include <cstdint>

namespace laconic::wire {
namespace {

// The ranges that google/protobuf/timestamp.proto and duration.proto name.
constexpr int64_t kTimestampSecondsMin = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr int64_t kTimestampSecondsMax = 253'402'300'799;  // 9999-12-31T23:59:59Z
constexpr int64_t kDurationSecondsMax = 315'576'000'000;

}  // namespace

absl::Time from_proto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration from_proto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

google::protobuf::Timestamp to_proto(absl::Time time) {
  time = std::clamp(time, absl::FromUnixSeconds(kTimestampSecondsMin),
                    absl::FromUnixSeconds(kTimestampSecondsMax + 1) - absl::Nanoseconds(1));
  google::protobuf::Timestamp stamp;
  stamp.set_seconds(absl::ToUnixSeconds(time));  // Down: nanoseconds count up, before 1970 too.
  stamp.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(stamp.seconds()))));
  return stamp;
}

google::protobuf::Duration to_proto(absl::Duration duration) {
  const absl::Duration longest = absl::Seconds(kDurationSecondsMax);
  duration = std::clamp(duration, -longest, longest);
  google::protobuf::Duration result;
  result.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  result.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return result;
}

}  // namespace laconic::wire
