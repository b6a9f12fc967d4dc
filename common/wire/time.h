// Times and durations between protobuf and Abseil.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace laconic::wire {

// Any value is taken, also one that protobuf does not allow: the checks of a field say what it may
// be. 0 seconds and 0 nanoseconds, what an unset field holds, is the Unix epoch or no time at all.
absl::Time from_proto(const google::protobuf::Timestamp& time);
absl::Duration from_proto(const google::protobuf::Duration& duration);

// To the nanosecond below for times, towards zero for durations. What lies beyond the range of the
// message (the years 1..9999; 10000 years both ways) becomes its end.
google::protobuf::Timestamp to_proto(absl::Time time);
google::protobuf::Duration to_proto(absl::Duration duration);

}  // namespace laconic::wire
