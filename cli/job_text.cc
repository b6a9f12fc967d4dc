#include "cli/job_text.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/core/exit_codes.h"
#include "common/core/format.h"
#include "common/wire/time.h"

namespace laconic::cli {
namespace {

// The cause stands in the last of them; the rest scrolls the message itself off a small terminal.
constexpr int kLastLinesShown = 15;

bool is_unset(const google::protobuf::Timestamp& time) {
  return time.seconds() == 0 && time.nanos() == 0;
}

// How well the end of `rank` explains the end of the job; 0: not at all.
int blame(const v1::Rank& rank) {
  if (rank.has_failure() && rank.failure().reason() != "PEER_LOST") {
    return 4;
  }
  // That a peer is lost explains little, but more than nothing.
  const int weak = rank.has_failure() ? 1 : 0;
  if (!rank.has_exit() || rank.has_finished()) {
    return weak;
  }
  // SIGTERM is how the worker ends the ranks that did nothing wrong.
  if (rank.exit().signal() != 0) {
    return rank.exit().signal() == SIGTERM ? weak : 3;
  }
  const int code = rank.exit().exit_code();
  const bool own_error = code != core::kTrainerDone && code != core::kTrainerPeerLost;
  return own_error ? 2 : (code == core::kTrainerPeerLost ? 1 : weak);
}

// True if the same job run again may get further than this time.
bool may_go_on(const v1::Job& job) {
  return job.job().spec().train().has_checkpoint() && job.reason() != "DIVERGED" &&
         !absl::StartsWith(job.reason(), "BAD_");
}

}  // namespace

std::string state_name(v1::JobState state) {
  const std::string& name = v1::JobState_Name(state);
  return name.empty() || state == v1::JOB_STATE_UNSPECIFIED ? "UNKNOWN" : name;
}

bool is_final(v1::JobState state) {
  return state == v1::SUCCEEDED || state == v1::FAILED || state == v1::CANCELLED;
}

int exit_code_of(v1::JobState state) {
  switch (state) {
    case v1::SUCCEEDED:
      return core::kExitOk;
    case v1::FAILED:
      return core::kExitJobFailed;
    case v1::CANCELLED:
      return core::kExitJobCancelled;
    default:
      return core::kExitInternal;
  }
}

int exit_code_of(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return core::kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return core::kExitUsage;
    case absl::StatusCode::kNotFound:
      return core::kExitNotFound;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return core::kExitAuth;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return core::kExitConflict;
    case absl::StatusCode::kResourceExhausted:
      return core::kExitLimit;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return core::kExitUnreachable;
    case absl::StatusCode::kCancelled:
      return core::kExitInterrupted;
    default:
      return core::kExitInternal;
  }
}

std::string code_name(absl::StatusCode code) {
  return absl::StatusCodeToString(code);
}

int32_t ranks_wanted(const v1::TrainJob& job) {
  return job.spec().workers().has_count() ? job.spec().workers().count() : 1;
}

std::string format_time(const google::protobuf::Timestamp& time) {
  if (is_unset(time)) {
    return "-";
  }
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", wire::from_proto(time), absl::UTCTimeZone());
}

std::string format_age(const google::protobuf::Timestamp& time, absl::Time now) {
  if (is_unset(time)) {
    return "-";
  }
  // The server's clock may be ahead of ours.
  return core::format_duration(std::max(absl::ZeroDuration(), now - wire::from_proto(time)));
}

std::string format_exit(const v1::RankExit& exit) {
  if (exit.signal() == 0) {
    return absl::StrCat("exit code ", exit.exit_code());
  }
  const char* name = sigabbrev_np(exit.signal());
  return name == nullptr ? absl::StrCat("killed by signal ", exit.signal())
                         : absl::StrCat("killed by signal ", exit.signal(), " (SIG", name, ")");
}

const v1::Rank* culprit(const v1::Job& job) {
  const v1::Rank* worst = nullptr;
  for (const v1::Rank& rank : job.ranks()) {
    if (blame(rank) > (worst == nullptr ? 0 : blame(*worst))) {
      worst = &rank;
    }
  }
  return worst;
}

std::string failure_text(const v1::Job& job) {
  std::string text = absl::StrCat("job ", job.id(), " ", state_name(job.state()));
  if (!job.reason().empty() && job.reason() != state_name(job.state())) {
    absl::StrAppend(&text, ": ", job.reason());
  }
  absl::StrAppend(&text, "\n");
  if (!job.message().empty()) {
    absl::StrAppend(&text, "  ", printable(job.message()), "\n");
  }
  if (may_go_on(job)) {
    absl::StrAppend(&text, "  run the same job again: it goes on after its last checkpoint\n");
  }
  const v1::Rank* rank = culprit(job);
  // A job that was cancelled has no culprit: its trainers ended because they were told to.
  if (rank == nullptr || job.state() == v1::CANCELLED) {
    return text;
  }
  absl::StrAppend(&text, "  rank ", rank->rank(), " on worker ", printable(rank->node()));
  if (rank->pid() != 0) {
    absl::StrAppend(&text, " (process ", rank->pid(), ")");
  }
  if (rank->has_exit()) {
    absl::StrAppend(&text, ": ", format_exit(rank->exit()));
  }
  absl::StrAppend(&text, "\n");
  if (rank->has_failure()) {
    absl::StrAppend(&text, "  ", rank->failure().reason(), ": ",
                    printable(rank->failure().message()), "\n");
  }
  if (const int lines = rank->exit().last_lines_size(); lines > 0) {
    absl::StrAppend(&text, "  last lines of its standard error:\n");
    for (int at = std::max(0, lines - kLastLinesShown); at < lines; ++at) {
      absl::StrAppend(&text, "    | ", printable(rank->exit().last_lines(at)), "\n");
    }
  }
  return text;
}

absl::StatusOr<absl::Duration> parse_duration(const std::string& text) {
  absl::Duration duration;
  double days = 0;
  if (text.ends_with("d") && absl::SimpleAtod(text.substr(0, text.size() - 1), &days)) {
    duration = absl::Hours(24) * days;
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' is not a duration; write a number and a unit: 500ms, 30s, 5m, 1h30m, 2d"));
  }
  if (duration <= absl::ZeroDuration() || duration > absl::Hours(24 * 365)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is out of range; allowed: more than 0s, at most 365d"));
  }
  return duration;
}

std::string printable(std::string text) {
  std::erase(text, '\r');
  std::replace_if(
      text.begin(), text.end(),
      [](char letter) {
        const auto byte = static_cast<uint8_t>(letter);
        return (byte < 0x20 && letter != '\t' && letter != '\n') || byte == 0x7F;
      },
      '?');
  return text;
}

}  // namespace laconic::cli
