// Method `dense`: the mean gradient at every step. Every rank then takes the same optimizer step.
#pragma once

#include <memory>

#include "common/sync/mean_exchange.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread.
class Dense final : public SyncMethod {
 public:
  explicit Dense(std::unique_ptr<MeanExchange> exchange);

  absl::Status begin(ModelView view) override;
  absl::Status reduce_gradients(ModelView view) override;
  absl::Status end_step(ModelView view, bool last) override;
  ViewUse use_of_reduce_gradients() const override {
    return {.parameters = Access::kNone, .gradients = Access::kReadWrite};
  }
  // Their digest is taken.
  ViewUse use_of_end_step(bool /*last*/) const override {
    return {.parameters = Access::kRead, .gradients = Access::kNone};
  }
  bool parameters_are_shared() const override { return true; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  const std::unique_ptr<MeanExchange> exchange_;
  int64_t step_ = 0;  // Steps whose gradients were reduced.
};

}  // namespace laconic::sync
