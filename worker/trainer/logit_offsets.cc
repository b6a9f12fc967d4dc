#include "worker/trainer/logit_offsets.h"

#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

constexpr int64_t kSamplesAtOnce = 1024;

// Add-one rule: a class that a share lacks keeps a finite logarithm.
torch::Tensor proportions(const torch::Tensor& counts) {
  const torch::Tensor smoothed = counts.to(torch::kFloat64) + 1;
  return smoothed / smoothed.sum();
}

}  // namespace

absl::StatusOr<torch::Tensor> count_classes(Model& model, const Dataset& data) {
  const torch::NoGradGuard no_grad;
  model.set_training(false);
  const int64_t classes = model.forward(data.share_batch(0, 1).inputs).size(-1);
  model.set_training(true);
  torch::Tensor counts = torch::zeros({classes}, torch::kInt64);
  for (int64_t first = 0; first < data.samples(); first += kSamplesAtOnce) {
    const int64_t count = std::min(kSamplesAtOnce, data.samples() - first);
    const torch::Tensor labels = data.share_batch(first, count).labels.reshape({-1});
    const int64_t largest = labels.max().item<int64_t>();
    if (largest >= classes) {
      return bad_model(
          absl::StrCat("a label is ", largest, " but the model has only ", classes, " outputs"));
    }
    counts += torch::bincount(labels, {}, classes);
  }
  return counts.to(torch::kFloat32);
}

torch::Tensor logit_offsets(const torch::Tensor& own, const torch::Tensor& mean, double strength) {
  const torch::Tensor here = proportions(own);
  const torch::Tensor everywhere = proportions(mean);
  spdlog::info(
      "logits are adjusted: {:.3f} of this rank's labels would have to change for the "
      "mix of all ranks",
      (here - everywhere).abs().sum().item<double>() / 2);
  return (strength * (here / everywhere).log()).to(torch::kFloat32);
}

}  // namespace laconic::trainer
