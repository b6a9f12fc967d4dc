// Why a rank could not train: a Status whose error info carries the reason that users see.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "laconic/v1/trainer.pb.h"

namespace laconic::trainer {

// The reasons of this layer; docs/errors.md says what to do about each.
inline constexpr char kBadData[] = "BAD_DATA";
inline constexpr char kBadModel[] = "BAD_MODEL";
inline constexpr char kBadJob[] = "BAD_JOB";
inline constexpr char kNoDevice[] = "NO_DEVICE";
inline constexpr char kDiverged[] = "DIVERGED";
inline constexpr char kPeerLost[] = "PEER_LOST";
inline constexpr char kRoundDeadline[] = "ROUND_DEADLINE";
inline constexpr char kBadFrame[] = "BAD_FRAME";
inline constexpr char kDigestMismatch[] = "DIGEST_MISMATCH";
inline constexpr char kOutOfMemory[] = "OUT_OF_MEMORY";
inline constexpr char kResultNotWritten[] = "RESULT_NOT_WRITTEN";
inline constexpr char kCheckpointNotWritten[] = "CHECKPOINT_NOT_WRITTEN";
inline constexpr char kBadCheckpoint[] = "BAD_CHECKPOINT";
inline constexpr char kStopped[] = "STOPPED";
inline constexpr char kInternal[] = "INTERNAL";

// InvalidArgument, reason BAD_DATA.
absl::Status bad_data(const std::string& message);
// InvalidArgument, reason BAD_MODEL.
absl::Status bad_model(const std::string& message);
// A status of the given code and reason.
absl::Status failure(absl::StatusCode code, const char* reason, const std::string& message);

// Gives an error of writing files the reason RESULT_NOT_WRITTEN and says what to do, unless it has
// a reason.
absl::Status result_not_written(const absl::Status& status);

// Gives a status from an exchange, which has a code only, its reason: Unavailable is PEER_LOST,
// DeadlineExceeded ROUND_DEADLINE, DataLoss BAD_FRAME, FailedPrecondition DIGEST_MISMATCH,
// InvalidArgument (not a finite number to encode) DIVERGED, Cancelled STOPPED. failed_rank: the
// rank that the exchange blames, -1 when none.
absl::Status exchange_failure(const absl::Status& status, int64_t step, int failed_rank);

// The first line of a library's message, without its C++ stack trace.
std::string first_line(const std::string& text);

// What the worker is told.
v1::Failure to_report(const absl::Status& status);
// Cancelled, reason STOPPED: the worker or a signal ended this rank; no failure of its own.
bool is_stop(const absl::Status& status);

// The trainer's exit code for a status: core/exit_codes.h.
int exit_code(const absl::Status& status);

}  // namespace laconic::trainer
