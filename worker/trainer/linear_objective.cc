#include "worker/trainer/linear_objective.h"

#include <torch/torch.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/format.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

// Of a chunk in float64: stays in the cache between its two products.
constexpr int64_t kChunkBytes = 2 << 20;

// In torch's own memory: how its loops cut a vector, and so the last bit of a sum, depends on where
// the vector begins.
torch::Tensor vector_of(int64_t elements) {
  return torch::zeros({elements}, torch::kFloat64);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearObjective>> LinearObjective::make(v1::Loss loss, double l2,
                                                                       int64_t dimension,
                                                                       const Dataset& data,
                                                                       const StopSignal& stop) {
  std::unique_ptr<LinearObjective> made(new LinearObjective(loss, l2, dimension, stop));
  made->samples_ = data.samples();
  made->features_ = data.shape().features;
  made->outputs_ = dimension / (made->features_ + 1);
  if (made->outputs_ * (made->features_ + 1) != dimension ||
      (loss != v1::CROSS_ENTROPY && made->outputs_ != 1)) {
    return bad_model(absl::StrCat("exchange.convex: a model of ", dimension,
                                  " parameters is not linear in ", made->features_, " features"));
  }
  const int64_t bytes = 4 * made->samples_ * made->features_;
  if (bytes > kShareBytesMax) {
    return bad_data(
        absl::StrCat("exchange.convex holds all samples of a rank in memory: ", made->samples_,
                     " with ", made->features_, " features take ", core::format_bytes(bytes),
                     ", the limit is ", core::format_bytes(kShareBytesMax), "; take more workers"));
  }
  const int64_t rows = std::max<int64_t>(1, kChunkBytes / (8 * made->features_));
  for (int64_t first = 0; first < made->samples_; first += rows) {
    LACONIC_RETURN_IF_ERROR(stop.status());
    Batch batch = data.share_batch(first, std::min(rows, made->samples_ - first));
    torch::Tensor labels =
        loss == v1::CROSS_ENTROPY ? batch.labels : batch.labels.to(torch::kFloat64);
    if (loss == v1::CROSS_ENTROPY && labels.max().item<int64_t>() >= made->outputs_) {
      return bad_model(absl::StrCat("a label is ", labels.max().item<int64_t>(),
                                    " but the model has only ", made->outputs_, " outputs"));
    }
    made->chunks_.push_back({.inputs = batch.inputs.flatten(1), .labels = std::move(labels)});
  }
  return made;
}

double LinearObjective::residual(const Chunk& chunk, const torch::Tensor& outputs,
                                 torch::Tensor& residual) const {
  if (loss_ == v1::CROSS_ENTROPY) {
    const torch::Tensor log_odds = torch::log_softmax(outputs, 1);
    const torch::Tensor label = chunk.labels.unsqueeze(1);
    residual = log_odds.exp();
    residual.scatter_add_(1, label, torch::full_like(label, -1, torch::kFloat64));
    return -log_odds.gather(1, label).sum().item<double>();
  }
  const torch::Tensor target = chunk.labels.unsqueeze(1);
  if (loss_ == v1::LOGISTIC) {
    residual = outputs.sigmoid() - target;
    return torch::binary_cross_entropy_with_logits(outputs, target, {}, {}, at::Reduction::Sum)
        .item<double>();
  }
  residual = outputs - target;
  const double loss = residual.square().sum().item<double>();
  residual.mul_(2);
  return loss;
}

absl::Status LinearObjective::gradient(std::span<const double> x, std::span<double> gradient) {
  const torch::NoGradGuard no_grad;
  const absl::Time start = absl::Now();
  const torch::Tensor parameters = vector_of(dimension_);
  std::copy(x.begin(), x.end(), parameters.data_ptr<double>());
  const torch::Tensor weights = parameters.narrow(0, 0, outputs_ * features_).view({outputs_, -1});
  const torch::Tensor bias = parameters.narrow(0, outputs_ * features_, outputs_);
  const torch::Tensor sum = vector_of(dimension_);
  torch::Tensor weight_sum = sum.narrow(0, 0, outputs_ * features_).view({outputs_, -1});
  torch::Tensor bias_sum = sum.narrow(0, outputs_ * features_, outputs_);
  double loss = 0;
  for (const Chunk& chunk : chunks_) {
    LACONIC_RETURN_IF_ERROR(stop_.status());
    const torch::Tensor inputs = chunk.inputs.to(torch::kFloat64);
    torch::Tensor slope;
    loss += residual(chunk, torch::addmm(bias, inputs, weights.t()), slope);
    weight_sum.addmm_(slope.t(), inputs);
    bias_sum.add_(slope.sum(0));
  }
  const double scale = 1 / static_cast<double>(samples_);
  sum.mul_(scale).add_(parameters, l2_);
  std::copy_n(sum.data_ptr<double>(), gradient.size(), gradient.begin());
  loss_value_ = loss * scale + l2_ / 2 * parameters.square().sum().item<double>();
  ++gradients_;
  time_ += absl::Now() - start;
  return absl::OkStatus();
}

}  // namespace laconic::trainer
