// A model's parameters and gradients as two contiguous vectors.
//
//   d  trained numbers of the model
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/core/layout.h"
#include "common/sync/sync_method.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {

// One tensor of the flat vectors: its place, and views that share memory with them.
struct FlatTensor {
  std::string name;
  ParameterRole role = ParameterRole::kOther;
  std::vector<int64_t> shape;  // As in the model.
  torch::Tensor value;         // [rows, columns]
  torch::Tensor gradient;      // [rows, columns]

  bool is_matrix() const { return shape.size() >= 2; }
};

// Moves the parameters of a model, which must outlive this object, into two float32 vectors of
// length d and leaves views of them in their place: what is written to one is seen in the other,
// nothing is ever copied. Owned by one thread.
class FlatModel {
 public:
  // Errors: InvalidArgument, reason BAD_MODEL, if the model trains nothing or has a parameter that
  // is not float32 on the CPU.
  static absl::StatusOr<std::unique_ptr<FlatModel>> create(Model& model);

  const core::Layout& layout() const { return layout_; }
  const std::vector<FlatTensor>& tensors() const { return tensors_; }

  torch::Tensor parameters() const { return parameters_; }  // [d]
  torch::Tensor gradients() const { return gradients_; }    // [d]
  sync::ModelView view() const;

  void zero_gradients();
  // Scales the gradient so that its L2 norm is at most `norm_max`.
  void clip_gradients(double norm_max);

 private:
  FlatModel() = default;

  core::Layout layout_;
  std::vector<FlatTensor> tensors_;
  torch::Tensor parameters_;
  torch::Tensor gradients_;
};

}  // namespace laconic::trainer
