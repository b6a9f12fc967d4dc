// What a rank saves so that its run can go on after a fault, and where the ranks go on together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/state_bytes.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/checkpoint_store.h"
#include "worker/trainer/run_meter.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

// Where a run stands between two steps, beside what its CheckpointedRun holds.
struct RunState {
  int64_t step = 0;                // steps done
  bool evaluation_is_due = false;  // waits for a shared state
  RunTotals totals;
};

// All that later steps of a rank depend on, beside the job and its data.
class CheckpointedRun {
 public:
  virtual ~CheckpointedRun() = default;

  // Waits until no exchange is under way. Errors: those of that exchange.
  virtual absl::Status settle() { return absl::OkStatus(); }
  // What the frames of the next exchange say.
  virtual collective::OpTag next_tag() const = 0;

  // Always the same fields in the same order. Restored into a run of the same job that has not
  // begun, it goes on bit for bit after `step`. Errors: Unimplemented if it cannot be saved; of
  // restore DataLoss or FailedPrecondition for what is no such state.
  virtual absl::Status save(core::StateWriter& writer) = 0;
  virtual absl::Status restore(core::StateReader& reader, int64_t step) = 0;
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

// What is said of a state that cannot be used: reason BAD_CHECKPOINT, which file, why, and what to
// do.
absl::Status refused(const CheckpointStore& store, int64_t step, const absl::Status& why);

// Where a run goes on from.
struct Origin {
  SavedStep saved;              // step 0: nowhere, it begins, in this course
  std::vector<uint8_t> choice;  // of saved_choice.h, as it was saved; empty: there was none
};

// All ranks call it together, before anything else is exchanged: the newest step that every rank
// has saved in one course of the run. Rank 0 says in the event BEGINS_ANEW if there are states but
// no such step. Errors: those of saved_steps() and of the exchange.
absl::StatusOr<Origin> find_origin(const CheckpointStore& store, const std::string& fingerprint,
                                   collective::Communicator& communicator, WorkerLink& link);

// All ranks call the same in the same order.
class Checkpointer {
 public:
  struct Options {
    CheckpointStore* store = nullptr;  // null: nothing is done
    int64_t every_steps = 1;           // >= 1
    std::string fingerprint;           // of job_fingerprint()
    Origin origin;                     // of find_origin(); what is saved has its choice
  };

  // The references, and the store, must outlive the object.
  Checkpointer(CheckpointedRun& run, collective::Communicator& communicator, WorkerLink& link,
               Options options);

  // Restores the origin's step, in place of the run's beginning, and removes the others.
  //
  //   returns  step 0 if the run has to begin: then nothing was restored and nothing is removed
  //            before the first save()
  //
  // Errors: as saved_steps() for a state that cannot be restored.
  absl::StatusOr<RunState> resume();

  bool is_due(int64_t step) const {
    return options_.store != nullptr && step % options_.every_steps == 0;
  }
  // Saves the state after state.step and, once all ranks have, removes the one before. Where one
  // rank cannot write, all keep the one before, and the run goes on.
  // Errors: those of the exchange.
  absl::Status save(const RunState& state);

 private:
  absl::StatusOr<std::vector<uint8_t>> encode(const RunState& state) const;
  absl::StatusOr<RunState> restore(std::span<const uint8_t> bytes) const;
  absl::Status exchanged(int64_t step, const absl::Status& status) const;
  void tell(const char* reason, const std::string& message) const;

  CheckpointedRun& run_;
  collective::Communicator& communicator_;
  WorkerLink& link_;
  const Options options_;
  bool last_write_failed_ = false;
};

}  // namespace laconic::trainer
