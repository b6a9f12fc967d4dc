// Method `ef21`: EF21 with momentum (EF21-SGDM), for gradients of small batches.
//
//   g_i  gradient of rank i    v_i  its momentum estimate    h_i  what receivers hold of it
//   b  momentum, 1 - eta of the paper    G = (1/P) sum_i h_i, kept by every rank
//
//   v_i <- b v_i + (1 - b) g_i, v_i = g_i in the first round            (algorithm 1, line 6)
//   h_i <- h_i + Q(v_i - h_i), whose bytes go to all; every rank: G      (lines 7 to 9)
//   the optimizer steps along G
//
// Plain EF21 passes the noise of every batch on to h_i; the estimate averages it first.
// Source: Fatkhullin, Tyurin, Richtarik, "Momentum Provably Improves Error Feedback!", NeurIPS
// 2023. h_i += Q(v_i - h_i), not h_i = v_i, which public code has been seen to do.
#pragma once

#include <memory>
#include <vector>

#include "common/sync/mean_exchange.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread. Memory: 2 d floats beside those of the exchange.
class Ef21Momentum final : public SyncMethod {
 public:
  // exchange: with EF21 feedback. momentum: b, 0 to below 1.
  Ef21Momentum(std::unique_ptr<MeanExchange> exchange, double momentum);

  absl::Status begin(ModelView view) override;
  // After an error the gradients are unchanged, and so is v.
  absl::Status reduce_gradients(ModelView view) override;
  absl::Status end_step(ModelView view, bool last) override;
  bool parameters_are_shared() const override { return true; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  const std::unique_ptr<MeanExchange> exchange_;
  const float momentum_;
  std::vector<float> value_;       // [d]: v after the last round
  std::vector<float> next_value_;  // [d]: v of the round under way
  int64_t step_ = 0;               // Steps whose gradients were reduced.
};

}  // namespace laconic::sync
