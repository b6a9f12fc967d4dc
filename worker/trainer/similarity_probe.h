// Measures how alike the ranks are between two states that all of them share:
// common/sync/similarity.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/state_bytes.h"
#include "common/sync/similarity.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/batch_gradient.h"

namespace laconic::trainer {

// spec.exchange.similarity. Samples are drawn anew each time, evenly over the share.
struct SimilarityOptions {
  int64_t every_steps = 1;  // >= 1
  int64_t samples = 4;      // >= 2, of each half one; a share that has fewer gives all
  uint64_t seed = 0;        // the same on all ranks
};

// Owned by one thread. It draws no sample of the training order, and neither dropout nor batch
// statistics see its passes, so training goes on as if it were not there.
class SimilarityProbe {
 public:
  // `parts`, what it refers to, and `data` must outlive this object.
  SimilarityProbe(const GradientParts& parts, const Dataset& data, int rank,
                  const SimilarityOptions& options);

  // All ranks hold the same parameters after `step`, 0 for the start: remembers them where a
  // measurement is due, or measures from those remembered to these.
  //
  //   returns  whether gather() is due
  //
  // Cost of a measurement: two gradients of `samples` samples; between two states 4 d bytes.
  // Errors: reason DIVERGED; those of compute_gradient().
  absl::StatusOr<bool> at_shared_state(int64_t step);

  // What all ranks have measured, after at_shared_state() returned true. Errors: as
  // sync::gather_similarity().
  absl::StatusOr<sync::Similarity> gather(collective::Communicator& communicator,
                                          const collective::OpTag& tag) const;

  // Between two steps. Errors of restore: DataLoss.
  void save(core::StateWriter& writer) const;
  absl::Status restore(core::StateReader& reader);

 private:
  absl::Status measure(int64_t step);
  std::vector<int64_t> draw(int64_t half) const;

  const GradientParts& parts_;
  const Dataset& data_;
  const int rank_;
  const SimilarityOptions options_;
  int64_t next_ = 0;            // the step from which on a measurement is due
  int64_t count_ = 0;           // measurements so far
  std::vector<float> earlier_;  // [d] while one is under way
  std::vector<float> halves_;   // [2, k] of the last one
  double distance_ = 0;         // of the last one
};

// For the reports. inner_steps: H from now on, 0 where it does not follow. Ranks other than 0 leave
// `deltas` out.
v1::SimilarityState similarity_state(const sync::Similarity& similarity, int rank, int64_t step,
                                     int64_t inner_steps);

// One sentence for people.
std::string similarity_sentence(const v1::SimilarityState& state);

}  // namespace laconic::trainer
