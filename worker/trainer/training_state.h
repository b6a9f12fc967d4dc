// What a training run saves and restores: parameters, optimizer, buffers, random numbers, method.
#pragma once

#include "worker/trainer/checkpointer.h"
#include "worker/trainer/similarity_probe.h"
#include "worker/trainer/training_loop.h"

namespace laconic::trainer {

class TrainingState final : public CheckpointedRun {
 public:
  // probe: belongs to the state, null: there is none. Both must outlive the object.
  TrainingState(const TrainingParts& parts, SimilarityProbe* probe)
      : parts_(parts), probe_(probe) {}

  absl::Status settle() override { return parts_.sync.settle(); }
  collective::OpTag next_tag() const override { return parts_.sync.next_tag(); }
  absl::Status save(core::StateWriter& writer) override;
  absl::Status restore(core::StateReader& reader, int64_t step) override;

 private:
  const TrainingParts& parts_;
  SimilarityProbe* const probe_;
};

}  // namespace laconic::trainer
