// The loop of a job with exchange.convex, from the first iteration to the last.
#pragma once

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "laconic/v1/job.pb.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/checkpointer.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/models.h"
#include "worker/trainer/stop_signal.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

// All that one rank trains with; the loop owns none of it.
struct ConvexParts {
  const v1::TrainJob& job;  // Its defaults filled in.
  Model& model;
  FlatModel& flat;
  const Dataset& data;
  collective::Communicator& communicator;
  collective::Transport& transport;
  WorkerLink& link;
  const StopSignal& stop;
  CheckpointStore* checkpoints;  // null: none are written
  const Origin& origin;          // with checkpoints
};

// Runs the method from x = 0, or from the last checkpoint of all ranks on if there is one, until
// |grad f| is at most the tolerance or spec.train.steps iterations are done, and ends the exchange
// in good order. The anchor worker evaluates, at multiples of eval_every_steps while the others
// wait, and at the end when nobody does.
//
//   returns  the last report, files not yet set; the solution is in `flat` as float32
//
// A round of the reports is one question to the workers. The train loss of a rank is its f_m, l2
// included, where it last took its gradient.
//
// Errors: reason DIVERGED if a number is not finite; BAD_JOB for a compressor that cannot take this
// model; BAD_DATA as LinearObjective; those of the exchange with their reason; those of
// Checkpointer::resume(); the reason of `stop`.
absl::StatusOr<v1::Finished> train_convex(const ConvexParts& parts);

}  // namespace laconic::trainer
