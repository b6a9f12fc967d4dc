// What a rank saves so that its run can go on after a fault, and where the ranks go on together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/checkpoint_store.h"
#include "worker/trainer/run_meter.h"
#include "worker/trainer/training_loop.h"

namespace laconic::trainer {

// Where a run stands between two steps, beside what the TrainingParts hold.
struct RunState {
  int64_t step = 0;                // steps done
  bool evaluation_is_due = false;  // waits for a shared state
  RunTotals totals;
};

// What decides a run but is in no state: two jobs with equal texts may go on from each other's
// states. `job` has its defaults filled in.
std::string job_fingerprint(const v1::TrainJob& job, int64_t samples);

// A state that a rank has. course: a random number that rank 0 draws when a run begins, so that
// states of two runs are never mixed.
struct SavedStep {
  int64_t step = 0;
  int64_t course = 0;
  bool operator==(const SavedStep&) const = default;
};

// What is in the store, ascending; files that are not whole are left out.
// Errors: InvalidArgument, reason BAD_CHECKPOINT, if a state is of another job or rank.
absl::StatusOr<std::vector<SavedStep>> saved_steps(const CheckpointStore& store, int rank,
                                                   const std::string& fingerprint);

// All ranks call the same in the same order. `parts` must outlive the object; without
// parts.checkpoints it does nothing.
class Checkpointer {
 public:
  // probe: belongs to the state, null: there is none. fingerprint: of job_fingerprint().
  // every_steps >= 1.
  Checkpointer(const TrainingParts& parts, SimilarityProbe* probe, int64_t every_steps,
               std::string fingerprint);

  // Restores the newest step that every rank has saved in one course of the run, in place of
  // SyncMethod::begin(), and removes the others.
  //
  //   returns  step 0 if the run has to begin: then nothing was restored and nothing is removed
  //            before the first save()
  //
  // Errors: those of saved_steps(), also for a state that cannot be restored; those of the
  // exchange.
  absl::StatusOr<RunState> resume();

  bool is_due(int64_t step) const {
    return parts_.checkpoints != nullptr && step % every_steps_ == 0;
  }
  // Saves the state after state.step and, once all ranks have, removes the one before. Where one
  // rank cannot write, all keep the one before, and the run goes on.
  // Errors: those of the exchange.
  absl::Status save(const RunState& state);

 private:
  absl::StatusOr<SavedStep> agree() const;
  absl::StatusOr<std::vector<uint8_t>> encode(const RunState& state) const;
  absl::StatusOr<RunState> restore(std::span<const uint8_t> bytes) const;
  absl::Status exchanged(int64_t step, const absl::Status& status) const;
  void tell(const char* reason, const std::string& message) const;

  const TrainingParts& parts_;
  SimilarityProbe* const probe_;
  const int64_t every_steps_;
  const std::string fingerprint_;
  int64_t course_ = 0;
  bool last_write_failed_ = false;
};

}  // namespace laconic::trainer
