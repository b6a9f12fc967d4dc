// The training loop, from the first step to the last.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/sync/sync_method.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/checkpointer.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/models.h"
#include "worker/trainer/optimizer.h"
#include "worker/trainer/run_meter.h"
#include "worker/trainer/schedule.h"
#include "worker/trainer/similarity_probe.h"
#include "worker/trainer/stop_signal.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

struct LoopOptions {
  CosineSchedule schedule;          // Holds the number of steps.
  std::optional<double> clip_norm;  // > 0
  bool clips_own_gradient =
      false;                       // before the exchange: what comes back are signs, not a gradient
  bool bfloat16_products = false;  // spec.train.precision
  double logit_adjustment = 0;     // tau of logit_offsets.h; 0: none
  absl::Duration round_deadline = absl::Seconds(60);
  int ranks_per_site = 0;        // 0: the job knows no sites.
  int64_t eval_every_steps = 1;  // >= 1
  int64_t eval_samples = 2000;   // On the way; the end takes all.
  std::optional<SimilarityOptions> similarity;
  int64_t checkpoint_every_steps = 1;  // >= 1; with TrainingParts::checkpoints
  std::string fingerprint;             // of checkpointer.h
};
// Of a job whose defaults are filled in. samples: in this rank's share.
LoopOptions loop_options(const v1::TrainJob& job, int64_t samples);

// All that one rank trains with; the loop owns none of it.
struct TrainingParts {
  Model& model;
  FlatModel& flat;
  Dataset& data;
  Optimizer& optimizer;
  sync::SyncMethod& sync;
  collective::Communicator& communicator;
  collective::Transport& transport;
  WorkerLink& link;
  const StopSignal& stop;
  const v1::ExchangeChoice& choice;  // for the reports; empty on all ranks but 0
  CheckpointStore* checkpoints;      // null: none are written
  const Origin& origin;              // with checkpoints
};

// Trains to the end, from the last checkpoint of all ranks on if there is one, and ends the
// exchange in good order. Rank 0 evaluates at the first shared state
// at or after every multiple of eval_every_steps, the others go on and wait for it in their next
// exchange; it tells them that it is alive. It evaluates the end when nobody waits any more.
//
//   returns  the last report, files not yet set
//
// Errors: reason DIVERGED if a loss is not finite, on held-out data too; those of the exchange with
// their reason; those of Checkpointer::resume(); the reason of `stop`.
absl::StatusOr<v1::Finished> train(const TrainingParts& parts, const LoopOptions& options);

// Loss and accuracy over `samples` held-out samples, evenly spaced; all when there are fewer.
// before_batch: called before each batch; its error ends the evaluation.
absl::StatusOr<Evaluation> evaluate(Model& model, const Dataset& data, int64_t samples,
                                    const std::function<absl::Status()>& before_batch);

}  // namespace laconic::trainer
