// The job file's meaning: every check, every default, every derived number, in one place, used by
// the CLI before it submits and by the server before it accepts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// One wrong field: `path` as in the job file ("spec.train.batch_size"), and what is allowed.
struct Violation {
  std::string path;
  std::string description;  // "is 0; allowed: 1..1000000"
};

// Everything wrong with a job, in the order of the fields; empty: the job is valid.
std::vector<Violation> check_job(const v1::TrainJob& job);

// The job with every unset field that has a default filled in. Call after check_job() came back
// empty.
v1::TrainJob with_defaults(v1::TrainJob job);

// The exchange part in core types, defaults applied.
core::ExchangeSpec exchange_spec(const v1::TrainJob& job);

// Shapes of the model's parameters in the order in which the trainer flattens them (that of
// torch's parameters()). What the job leaves to the data is taken from `assumed`.
// Errors: FailedPrecondition for a TorchScript model, whose shapes only its file knows.
struct DataShape {
  int64_t channels = 1, height = 28, width = 28, features = 784, classes = 10;
};
absl::StatusOr<core::Layout> model_layout(const v1::Model& model, const DataShape& assumed);

// Every timeout of a job, all from D = round_deadline:
//
//   start_deadline   5 D, but 2 min..24 h: loading data and the model may take many rounds' time
//   reservation_ttl  D / 2, but 10 s..1 min
//   stop_grace       D / 12, but 1 s..5 s: a trainer ends within a second of SIGTERM
//   root_cause_wait  D / 30, but 0.5 s..2 s: a lost trainer is reported within 5 s
struct Timeouts {
  absl::Duration round_deadline;   // longest wait for a peer within a round
  absl::Duration start_deadline;   // from reservation to the last rank being ready
  absl::Duration reservation_ttl;  // reserved slots whose tasks no worker confirmed
  absl::Duration stop_grace;       // SIGTERM to SIGKILL
  absl::Duration root_cause_wait;  // how long a better cause than "peer lost" is waited for
};
Timeouts derive_timeouts(const v1::TrainJob& job);

// Bytes the rank that sends most sends per round, by the schedule of the job
// (core/schedule_choice.h), and what a dense float32 ring all-reduce would send in the steps of
// that round. Where the payload's size depends on the data (top-k) or the rank, what is expected:
// see core::payload_bytes_expected(). With exchange.convex a round here is one iteration.
struct RoundPrediction {
  core::Schedule schedule = core::Schedule::kAllGather;  // never kAuto
  int64_t payload_bytes = 0;                             // one payload
  bool varies = false;              // with data or rank: then bytes are expected, not exact
  int64_t sent_bytes = 0;           // with frame headers, to all peers
  int64_t between_sites_bytes = 0;  // hierarchical: what the rank sends that sends most there
  int64_t up_bytes = 0;     // exchange.convex: one worker to rank 0 in an iteration, with headers
  int64_t down_bytes = 0;   // exchange.convex: rank 0 to one worker
  int64_t dense_bytes = 0;  // 2 (P-1)/P 4 d H, H the longest round
  int64_t rounds = 0;       // of the whole job
  double times_less = 0;    // dense / sent over all steps, the last round may be short; 0 for P = 1
};
RoundPrediction predict_round(const v1::TrainJob& job, const core::Layout& layout);

}  // namespace laconic::wire
