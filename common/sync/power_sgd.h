// Method `power_sgd`: the mean gradient as the product of two thin matrices per tensor.
//
//   M_i  gradient of rank i plus what it owes, [n x m]    r  rank    P  [n x r]    Q  [m x r]
//
//   M_i = g_i + e_i;  P = mean_i(M_i Q_last), columns orthonormalised;  Q = mean_i(M_i^T P)
//   every rank's gradient becomes P Q^T;  e_i <- M_i - P Q^T;  Q_last <- Q (warm start)
//
// Two all-reduces of r (n + m) floats in all, exact sums in double, so all ranks hold one P and one
// Q, unlike the codec low rank. Vectors, and matrices that would not get smaller, are averaged as
// they are with the first of the two. Momentum goes after decoding, into the optimizer. The first
// dense_steps average float32 gradients, while the direction of the gradient still turns fast.
// Source: Vogels, Karimireddy, Jaggi, "PowerSGD", NeurIPS 2019 (arXiv 1905.13727), algorithm 1 and
// 2: both error feedback and warm start are part of it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread. Memory: 2 d floats, and r (n + m) for the factors.
// Cost of a round: 3 n m r multiplications per factored tensor.
class PowerSgd final : public SyncMethod {
 public:
  // exchange: without a codec.
  // Errors: InvalidArgument for a spec outside its ranges, or a codec beside it.
  static absl::StatusOr<std::unique_ptr<PowerSgd>> make(std::unique_ptr<MeanExchange> exchange,
                                                        const core::ExchangeSpec& spec,
                                                        const core::Layout& layout);

  absl::Status begin(ModelView view) override;
  // After an error gradients, residual and factors are unchanged.
  absl::Status reduce_gradients(ModelView view) override;
  absl::Status end_step(ModelView view, bool last) override;
  bool parameters_are_shared() const override { return true; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

  // e, [d]; 0 where tensors are not factored.
  std::span<const float> residual() const { return residual_; }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  // Where a tensor is: in the flat vector, and its factors in the floats of the two all-reduces.
  struct Tensor {
    size_t rows = 0;
    size_t columns = 0;
    bool factored = false;
    size_t begin = 0;      // in the flat vector
    size_t in_first = 0;   // of P, or of the tensor itself
    size_t in_second = 0;  // of Q
  };

  PowerSgd(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec,
           const core::Layout& layout);

  absl::Status round(std::span<float> gradients);
  std::vector<float> first_floats(std::span<const float> owed);
  std::vector<float> second_floats(std::span<const float> owed, std::span<float> first) const;
  void decode(std::span<const float> first, std::span<const float> second,
              std::span<float> out) const;

  const std::unique_ptr<MeanExchange> exchange_;
  const size_t rank_;  // r
  const int64_t dense_steps_;
  std::vector<Tensor> tensors_;
  std::vector<float> residual_;  // [d]: e
  std::vector<float> owed_;      // [d]: M of the round under way
  std::vector<float> start_;     // Q_last of all factored tensors
  size_t first_size_ = 0;        // floats of the first all-reduce
  int64_t step_ = 0;             // Steps whose gradients were reduced.
};

}  // namespace laconic::sync
