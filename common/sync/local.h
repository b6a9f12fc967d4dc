// Method `local`: H optimizer steps on each rank alone, then the mean drift and an outer step.
//
//   theta  parameters all ranks shared after the last round    theta_i  those of rank i now
//   D = mean_i (theta - theta_i)        H  steps since then (core/round_schedule.h)
//   m <- mu m + D;  theta <- theta - eta (D + mu m);  theta_i <- theta
//
// eta = 1 and mu = 0 average the parameters.
//
// Where spec.inner_steps_max is set, H follows the similarity of the ranks (similarity.h). With a
// shift beta every step is corrected by what the last round showed of the ranks' differences:
//
//   theta_i <- theta_i + beta_t u_i                 at every step but a round's last
//   u_i <- (Delta_i + sum_t beta_t u_i - D) / H     at its end, Delta_i = theta - theta_i
//   beta_t = beta (1 - t / S) min(1, delta / L)
//
// delta and L as measured (SimilarityMean); before that the last factor is 1.
// Sources: Douillard et al., "DiLoCo", arXiv 2311.08105 (outer Nesterov); Karimireddy et al.,
// "SCAFFOLD", ICML 2020 (u_i is its control variate, option II, in steps instead of gradients, so
// that any inner optimizer will do); a coefficient that falls: Yin et al., arXiv 2311.05589.
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
  ViewUse use_of_reduce_gradients() const override {
    return {.parameters = Access::kNone, .gradients = Access::kNone};
  }
  ViewUse use_of_end_step(bool last) const override {
    const bool writes = round_is_due(last) || !gap_.empty();
    return {.parameters = writes ? Access::kReadWrite : Access::kNone, .gradients = Access::kNone};
  }
  bool parameters_are_shared() const override { return since_round_ == 0; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override;
  int64_t take_similarity(const Similarity& similarity) override;

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  bool follows_similarity() const { return steps_max_ > 0; }
  bool round_is_due(bool last) const;
  absl::Status round(std::span<float> parameters);
  void correct_drift(std::span<float> parameters);

  const std::unique_ptr<MeanExchange> exchange_;
  const core::RoundSchedule rounds_;
  const int64_t steps_max_;  // of H; 0: H is what rounds_ says
  const double shift_;       // beta
  OuterStep outer_;
  std::vector<float> theta_;  // [d]
  std::vector<float> drift_;  // [d]
  int64_t step_ = 0;          // Steps ended.
  int64_t since_round_ = 0;   // Of these, since the last round.
  int64_t inner_steps_;       // H, with steps_max_.
  bool followed_ = false;     // The H of the last round came from similarity_.
  SimilarityMean similarity_;
  float corrected_ = 0;      // sum of beta_t since the last round
  std::vector<float> gap_;   // u_i, [d]; empty without a shift
  std::vector<float> mean_;  // D, [d]; likewise
};

}  // namespace laconic::sync
