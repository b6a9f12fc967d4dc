// The gradient of one batch.
#pragma once

#include <torch/types.h>

#include "absl/status/statusor.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {

// How a rank computes its loss. Owned by one thread.
struct GradientParts {
  Model& model;
  FlatModel& flat;
  bool bfloat16_products = false;  // spec.train.precision
  torch::Tensor offsets;  // added to the logits in training (logit_offsets.h); may be undefined
};

// Forward and backward: leaves the gradient of the mean loss in parts.flat and returns the loss.
// Where that is not finite the gradient is zero. Errors: those of compute_loss().
absl::StatusOr<double> compute_gradient(const GradientParts& parts, const Batch& batch);

}  // namespace laconic::trainer
