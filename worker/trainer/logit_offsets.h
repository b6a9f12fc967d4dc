// Logit adjustment: what a rank adds to its logits in training, so that the mix of classes in its
// own share does not teach the shared model a wrong prior.
//
//   n_i(y)  samples of class y in the share of rank i    k  classes    tau  strength
//   p_i(y) = (n_i(y) + 1) / (sum_y n_i(y) + k)    p(y)  the same of their mean over i
//   offset_i(y) = tau log(p_i(y) / p(y))
//
// A rank that sees a class rarely would push its logit down everywhere; with tau = 1 the prior of
// its share is in the offset and the model learns what all shares have in common. Evaluation adds
// none. Source: Menon et al., arXiv 2007.07314, eq. (10), with p_i / p in place of the one data
// set's prior; for shares of unlike labels Zhang et al., arXiv 2209.00189.
#pragma once

#include <torch/types.h>

#include "absl/status/statusor.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {

// n_i(y) as float32 [k], k = the model's outputs for one sample; reads the whole share once.
// Errors: InvalidArgument, reason BAD_MODEL, if a label is no output of the model.
absl::StatusOr<torch::Tensor> count_classes(Model& model, const Dataset& data);

// offset_i as float32 [k].
//
//   own   n_i(y), float32 [k]    mean  the mean of n_j(y) over all ranks j, float32 [k]
//   strength  tau >= 0
//
// Exactly zero where a rank's counts are the mean.
torch::Tensor logit_offsets(const torch::Tensor& own, const torch::Tensor& mean, double strength);

}  // namespace laconic::trainer
