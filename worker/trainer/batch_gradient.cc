#include "worker/trainer/batch_gradient.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <cmath>

#include "common/core/status_macros.h"

namespace laconic::trainer {
namespace {

// While it lives, matrix products and convolutions of this thread are computed in bfloat16. A
// backward pass computes in the precision of its forward pass.
class Bfloat16Products {
 public:
  Bfloat16Products(bool enabled, const torch::Device& device)
      : enabled_(enabled), gpu_(device.is_cuda()) {
    if (enabled_) {
      at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
      at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
      turn(true);
    }
  }
  ~Bfloat16Products() {
    if (enabled_) {
      at::autocast::clear_cache();  // casts of weights, which the step is about to change
      turn(false);
    }
  }
  Bfloat16Products(const Bfloat16Products&) = delete;
  Bfloat16Products& operator=(const Bfloat16Products&) = delete;

 private:
  void turn(bool on) const {
    if (gpu_) {
      at::autocast::set_enabled(on);
    } else {
      at::autocast::set_cpu_enabled(on);
    }
  }

  const bool enabled_;
  const bool gpu_;
};

torch::Tensor training_outputs(const GradientParts& parts, const torch::Tensor& inputs) {
  const Bfloat16Products products(parts.bfloat16_products, parts.flat.device());
  const torch::Tensor outputs = parts.model.forward(inputs);
  // Any other type is the model's own, and compute_loss() has its say about it.
  return outputs.scalar_type() == torch::kBFloat16 ? outputs.to(torch::kFloat32) : outputs;
}

}  // namespace

absl::StatusOr<double> compute_gradient(const GradientParts& parts, const Batch& batch) {
  parts.flat.zero_gradients();
  const torch::Tensor outputs = training_outputs(parts, batch.inputs);
  LACONIC_ASSIGN_OR_RETURN(
      const LossResult result,
      compute_loss(parts.model.loss(), parts.offsets.defined() ? outputs + parts.offsets : outputs,
                   batch.labels, /*count_correct=*/false));
  const double loss = result.loss.item<double>();
  if (std::isfinite(loss)) {
    result.loss.backward();
  }
  return loss;
}

}  // namespace laconic::trainer
