#include "worker/trainer/failure.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/core/exit_codes.h"
#include "common/wire/status.h"

namespace laconic::trainer {
namespace {

constexpr char kPeerRankKey[] = "peer_rank";

std::string reason_of(const absl::Status& status) {
  const std::string reason = wire::error_info(status).reason;
  return reason.empty() ? kInternal : reason;
}

const char* exchange_reason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return kPeerLost;
    case absl::StatusCode::kDeadlineExceeded:
      return kRoundDeadline;
    case absl::StatusCode::kDataLoss:
      return kBadFrame;
    case absl::StatusCode::kFailedPrecondition:
      return kDigestMismatch;
    case absl::StatusCode::kInvalidArgument:
      return kDiverged;
    case absl::StatusCode::kCancelled:
      return kStopped;
    default:
      return kInternal;
  }
}

}  // namespace

absl::Status failure(absl::StatusCode code, const char* reason, const std::string& message) {
  return wire::with_error_info(absl::Status(code, message), {.reason = reason, .metadata = {}});
}

absl::Status bad_data(const std::string& message) {
  return failure(absl::StatusCode::kInvalidArgument, kBadData, message);
}

absl::Status bad_model(const std::string& message) {
  return failure(absl::StatusCode::kInvalidArgument, kBadModel, message);
}

absl::Status result_not_written(const absl::Status& status) {
  if (status.ok() || !wire::error_info(status).reason.empty()) {
    return status;
  }
  return failure(
      status.code(), kResultNotWritten,
      absl::StrCat(status.message(),
                   "; make room, or set spec.result.directory to a place that rank 0 can "
                   "write to"));
}

absl::Status exchange_failure(const absl::Status& status, int64_t step, int failed_rank) {
  if (status.ok() || !wire::error_info(status).reason.empty()) {
    return status;
  }
  const char* reason = exchange_reason(status.code());
  std::string message = absl::StrCat("exchange at step ", step, ": ", status.message());
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    absl::StrAppend(&message, "; lower the learning rate or set spec.train.clip_norm");
  } else if (status.code() == absl::StatusCode::kFailedPrecondition) {
    absl::StrAppend(
        &message,
        "; ranks on unlike processors can differ with exchange.dense, which takes every "
        "optimizer step on each: use exchange.local or like machines");
  }
  wire::ErrorInfo info{.reason = reason, .metadata = {}};
  if (failed_rank >= 0) {
    info.metadata[kPeerRankKey] = absl::StrCat(failed_rank);
  }
  return wire::with_error_info(absl::Status(status.code(), message), info);
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

v1::Failure to_report(const absl::Status& status) {
  v1::Failure report;
  report.set_reason(reason_of(status));
  report.set_message(std::string(status.message()));
  const wire::ErrorInfo info = wire::error_info(status);
  int32_t rank = 0;
  if (info.metadata.contains(kPeerRankKey) &&
      absl::SimpleAtoi(info.metadata.at(kPeerRankKey), &rank)) {
    report.set_peer_rank(rank);
  }
  return report;
}

bool is_stop(const absl::Status& status) {
  return reason_of(status) == kStopped;
}

int exit_code(const absl::Status& status) {
  if (status.ok()) {
    return core::kTrainerDone;
  }
  const std::string reason = reason_of(status);
  const bool peer = reason == kPeerLost || reason == kRoundDeadline;
  return peer ? core::kTrainerPeerLost : core::kTrainerFailed;
}

}  // namespace laconic::trainer
