// Optimizers over a FlatModel. Gradients are read, parameters are changed in place.
//
//   g  gradient    W  parameter    lr  learning rate of the step    wd  weight decay
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/core/state_bytes.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/flat_model.h"

namespace laconic::trainer {

// Owned by one thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // One step; every learning rate of the job is multiplied by `rate_factor`.
  virtual void step(double rate_factor) = 0;

  // What later steps depend on. Restored into an optimizer that was made for the same model and
  // spec, it goes on bit for bit. Errors of restore: as StateReader.
  virtual void save(core::StateWriter& writer) const = 0;
  virtual absl::Status restore(core::StateReader& reader) = 0;
};

// SGD with momentum: g += wd W; m <- momentum m + g (m = g at the first step);
// W -= lr (nesterov ? g + momentum m : m). As torch.optim.SGD with dampening 0.
std::unique_ptr<Optimizer> make_sgd(const FlatModel& model, const v1::Sgd& spec);

// AdamW of the tensors whose role is kOther, or of all; weight decay of matrices only:
// W *= 1 - lr wd; m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g^2;
// W -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps).
// Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
enum class AdamScope : uint8_t { kAll, kOther };
std::unique_ptr<Optimizer> make_adamw(const FlatModel& model, const v1::AdamW& spec,
                                      AdamScope scope);

// Muon for tensors whose role is kHidden, each as a matrix [rows x columns]; AdamW for the rest:
// m <- momentum m + g; X = orthogonalize(g + momentum m);
// W <- W (1 - lr wd) - lr sqrt(max(1, rows/columns)) X.
// Source: Jordan et al., "Muon", 2024; the scale as in its reference code.
// products: precision of the products in orthogonalize().
std::unique_ptr<Optimizer> make_muon(const FlatModel& model, const v1::Muon& spec,
                                     torch::Dtype products = torch::kFloat32);

// Five Newton-Schulz steps towards the nearest semi-orthogonal matrix; singular values end in about
// 0.7..1.2, not at 1. matrix: float32 [rows, columns]; returns a new one of the same shape.
// products: kFloat32 or, as in the reference code of Muon, kBFloat16.
torch::Tensor orthogonalize(const torch::Tensor& matrix, torch::Dtype products = torch::kFloat32);

// The optimizer a job names, defaults filled in. Errors: InvalidArgument if it names none.
absl::StatusOr<std::unique_ptr<Optimizer>> make_optimizer(const v1::Train& spec,
                                                          const FlatModel& model);

}  // namespace laconic::trainer
