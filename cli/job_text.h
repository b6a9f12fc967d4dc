// What the words of the API mean to a person and to a shell. Pure functions.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// "RUNNING"; "UNKNOWN" for what a newer server may send.
std::string state_name(v1::JobState state);
bool is_final(v1::JobState state);

// What run, wait, watch and submit --wait end with: 0 SUCCEEDED, 1 FAILED, 3 CANCELLED.
int exit_code_of(v1::JobState state);
// What a command ends with after this error (docs/cli.md has the table).
int exit_code_of(const absl::Status& status);
// "FAILED_PRECONDITION", as in gRPC.
std::string code_name(absl::StatusCode code);

// Ranks the job asks for; 1 when unset.
int32_t ranks_wanted(const v1::TrainJob& job);

// "2026-11-22 03:20:01 UTC"; "-" when unset.
std::string format_time(const google::protobuf::Timestamp& time);
// "3 min 20 s" from `time` to `now`; "-" when unset.
std::string format_age(const google::protobuf::Timestamp& time, absl::Time now);

// "killed by signal 9 (SIGKILL)" or "exit code 1".
std::string format_exit(const v1::RankExit& exit);

// The rank whose end explains a failed job best, or nullptr: one that reported its own cause, then
// one that was killed by a signal nobody here sends, then one that ended with an error of its own.
const v1::Rank* culprit(const v1::Job& job);

// What went wrong, several lines: the reason, which rank on which node, how it ended, and the last
// lines of its standard error.
std::string failure_text(const v1::Job& job);

// "90s", "5m", "1h30m", "2d". Errors: InvalidArgument with what is expected.
absl::StatusOr<absl::Duration> parse_duration(const std::string& text);

// Replaces everything a terminal could act on, so that text from elsewhere is only ever shown.
std::string printable(std::string text);

}  // namespace laconic::cli
