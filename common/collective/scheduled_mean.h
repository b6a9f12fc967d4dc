// The mean over the ranks by any schedule, compressed or in float32: carries out the steps of one
// rank over a communicator.
//
//   P  world_size    d  elements    e1, e2  residuals of error feedback: of what this rank sends to
//   be added up (stage 1), and of the means that it encodes as an owner (stage 2)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/host_parts.h"
#include "common/collective/scheduled_work.h"
#include "common/collective/step_runner.h"
#include "common/compress/feedback.h"

namespace laconic::collective {

// Owned by one thread. One exchange is a transaction: run(), then commit() when all ranks have
// their mean, or rollback().
class ScheduledMean {
 public:
  // All ranks give the same options, but for the rank.
  // Errors: InvalidArgument for an unknown schedule, a ring with a codec, or what make_codec()
  // refuses.
  static absl::StatusOr<std::unique_ptr<ScheduledMean>> make(const ScheduledMeanOptions& options);

  int64_t elements() const { return elements_; }
  // Messages of one frame each that this rank sends and receives in one exchange.
  int64_t messages_sent() const { return runner_.messages_sent(); }
  int64_t messages_received() const { return runner_.messages_received(); }

  // Makes mean() from the ranks' vectors; bit-identical on all ranks.
  //
  //   communicator  of the generation; its rank and world size are those of the options
  //   v             [d] f32; unchanged. After rollback() the same v again: what is owed already is
  //                 not added twice, and all ranks send the same bytes as before.
  //   out           [d] f32, apart from v, where mean() is made; empty: memory of this object
  //
  // Cost: see schedule.h; one frame per message. Errors: those of Communicator::all_gather and of
  // the codec. After one the exchange is rolled back, and mean() is unspecified.
  absl::Status run(Communicator& communicator, std::span<const float> v, const OpTag& tag,
                   std::span<float> out = {});

  // [d] f32, until the next run().
  std::span<const float> mean() const { return mean_; }

  // Closes the exchange: both stages keep what their bytes left out. Norms are over all parts of
  // both stages; that of the input is v's. Errors: as Feedback::commit.
  absl::StatusOr<compress::FeedbackNorms> commit() { return parts_->commit(); }
  // Restores both stages: what was to be sent still is owed. Without an open exchange: nothing.
  void rollback() { parts_->rollback(); }

  // Adds to `sum` ([d]) what this rank owes, that of stage 2 times P, and forgets it: for a caller
  // that keeps it in a residual of its own. No exchange may be open.
  void take_owed(std::span<float> sum) { parts_->take_owed(sum); }
  // As Feedback::save and restore, of both stages.
  void save(core::StateWriter& writer) const { parts_->save(writer); }
  absl::Status restore(core::StateReader& reader) { return parts_->restore(reader); }

  // Sum over the elements of what stage 1, and stage 2 of this rank, still owe. P times the second
  // and the first, over all ranks, with what was received, make up what was given to run().
  double owed_stage_1() const { return parts_->owed_stage_1(); }
  double owed_stage_2() const { return parts_->owed_stage_2(); }

 private:
  ScheduledMean(const ScheduledMeanOptions& options, StepList list,
                std::unique_ptr<HostParts> parts);

  const int rank_;
  const int world_size_;
  const int64_t elements_;
  StepRunner runner_;
  const std::unique_ptr<HostParts> parts_;
  std::vector<float> own_mean_;  // [d], or empty
  std::span<float> mean_;        // [d]
};

}  // namespace laconic::collective
