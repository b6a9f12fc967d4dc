// Method `local`: H optimizer steps on each rank alone, then the mean drift and an outer step.
//
//   theta  parameters all ranks shared after the last round    theta_i  those of rank i now
//   D = mean_i (theta - theta_i)        H  steps since then (core/round_schedule.h)
//   m <- mu m + D;  theta <- theta - eta (D + mu m);  theta_i <- theta
//
// eta = 1 and mu = 0 average the parameters.
// Source: Douillard et al., "DiLoCo", arXiv 2311.08105 (outer Nesterov).
#pragma once

#include <memory>
#include <vector>

#include "common/core/exchange_spec.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/outer_step.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread. The state of the inner optimizer stays with its rank.
class Local final : public SyncMethod {
 public:
  Local(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec);

  absl::Status begin(ModelView view) override;
  absl::Status reduce_gradients(ModelView view) override;
  // An error leaves parameters, theta, momentum and counters as they were.
  absl::Status end_step(ModelView view, bool last) override;
  bool parameters_are_shared() const override { return since_round_ == 0; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  absl::Status round(std::span<float> parameters);
  const std::unique_ptr<MeanExchange> exchange_;
  const core::RoundSchedule rounds_;
  OuterStep outer_;
  std::vector<float> theta_;  // [d]
  std::vector<float> drift_;  // [d]
  int64_t step_ = 0;          // Steps ended.
  int64_t since_round_ = 0;   // Of these, since the last round.
};

}  // namespace laconic::sync
