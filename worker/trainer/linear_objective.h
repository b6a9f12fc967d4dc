// The problem that a rank brings to a convex method: a model linear in its parameters, over all
// samples of the rank, in float64.
//
//   n  samples of the rank    f  features    k  outputs    d = k (f + 1)
//   x  weights [k x f], row by row, then biases [k]: the order of FlatModel
//
//   f_m(x) = (1/n) sum_j loss(W a_j + b, y_j) + l2/2 |x|^2
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/convex/objective.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/stop_signal.h"

namespace laconic::trainer {

// Samples are held as dense float32.
inline constexpr int64_t kShareBytesMax = int64_t{8} << 30;

// CROSS_ENTROPY (k >= 2: softmax regression), LOGISTIC or MSE (k = 1), as compute_loss() has them.
class LinearObjective final : public convex::Objective {
 public:
  // dimension: d of the model. Reads the whole share once. `data` and `stop` must outlive this
  // object. Errors: InvalidArgument, reason BAD_DATA, if the samples take more than kShareBytesMax;
  // reason BAD_MODEL if d does not fit the data.
  static absl::StatusOr<std::unique_ptr<LinearObjective>> make(v1::Loss loss, double l2,
                                                               int64_t dimension,
                                                               const Dataset& data,
                                                               const StopSignal& stop);

  int64_t dimension() const override { return dimension_; }
  // Cost: 4 n d float64 operations. Errors: the reason of `stop`.
  absl::Status gradient(std::span<const double> x, std::span<double> gradient) override;

  // f_m where the last gradient was taken; 0 before the first.
  double loss() const { return loss_value_; }
  // Gradients so far, and their time.
  int64_t gradients() const { return gradients_; }
  absl::Duration time() const { return time_; }

 private:
  struct Chunk {
    torch::Tensor inputs;  // [rows, f] float32
    torch::Tensor labels;  // [rows] int64 classes, or float64
  };

  LinearObjective(v1::Loss loss, double l2, int64_t dimension, const StopSignal& stop)
      : loss_(loss), l2_(l2), dimension_(dimension), stop_(stop) {}

  // residual [rows, k] <- d loss / d outputs, summed over nothing; returns the sum of the losses.
  double residual(const Chunk& chunk, const torch::Tensor& outputs, torch::Tensor& residual) const;

  const v1::Loss loss_;
  const double l2_;
  const int64_t dimension_;
  const StopSignal& stop_;
  std::vector<Chunk> chunks_;
  int64_t samples_ = 0;
  int64_t features_ = 0;
  int64_t outputs_ = 0;
  double loss_value_ = 0;
  int64_t gradients_ = 0;
  absl::Duration time_;
};

}  // namespace laconic::trainer
