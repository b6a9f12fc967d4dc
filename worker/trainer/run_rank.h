// One rank from its job file to its result.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/split.h"
#include "worker/trainer/stop_signal.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

struct RankOptions {
  std::string job_file;  // binary TrainJob
  std::string job_id;
  World world;
  std::string peer_host;   // where other ranks reach this one
  std::string peer_token;  // what the ranks show each other
  std::string directory;   // this rank's own
};

// Loads data and model, waits for the others, trains, and writes the result on rank 0.
//
//   returns  the last report of a rank that trained to the end
//
// Errors: with a reason of failure.h. What torch throws passes through; see guarded().
absl::StatusOr<v1::Finished> run_rank(const RankOptions& options,
                                      const std::shared_ptr<WorkerLink>& link,
                                      const std::shared_ptr<StopSignal>& stop);

// run_rank() with every exception turned into a status of one line: BAD_MODEL for what torch throws
// (a model and data that do not fit), OUT_OF_MEMORY, INTERNAL for the rest.
absl::StatusOr<v1::Finished> guarded_run_rank(const RankOptions& options,
                                              const std::shared_ptr<WorkerLink>& link,
                                              const std::shared_ptr<StopSignal>& stop);

}  // namespace laconic::trainer
