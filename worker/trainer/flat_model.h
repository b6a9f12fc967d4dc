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

enum class HostMemory : uint8_t {
  kSharedWhereItCan,  // with the model, if that is on the CPU
  kApart,             // a copy in any case
};

// Moves the parameters of a model, which must outlive this object, into two float32 vectors of
// length d on the model's device and leaves views of them in their place: what is written to one is
// seen in the other. Owned by one thread.
class FlatModel {
 public:
  // Errors: InvalidArgument, reason BAD_MODEL, if the model trains nothing or has a parameter that
  // is not float32, or on another device than the first.
  static absl::StatusOr<std::unique_ptr<FlatModel>> create(
      Model& model, HostMemory memory = HostMemory::kSharedWhereItCan);

  const core::Layout& layout() const { return layout_; }
  const std::vector<FlatTensor>& tensors() const { return tensors_; }

  torch::Tensor parameters() const { return parameters_; }  // [d]
  torch::Tensor gradients() const { return gradients_; }    // [d]
  torch::Device device() const { return parameters_.device(); }

  // Host memory: the vectors themselves, or, if is_copied(), copies of them, which a sync method's
  // calls must stand between:
  //   copy_to_view    what the call reads
  //   copy_from_view  what it writes
  sync::ModelView view() const;
  bool is_copied() const { return host_parameters_.defined(); }
  void copy_to_view(const sync::ViewUse& use);
  void copy_from_view(const sync::ViewUse& use);
  // Those of the view after a copy_to_view() of them.
  std::span<const float> host_parameters();
  std::span<const float> host_gradients();
  // other: [d], in host memory.
  void swap_parameters(std::span<float> other);

  void zero_gradients();
  // Scales the gradient so that its L2 norm is at most `norm_max`.
  void clip_gradients(double norm_max);

 private:
  FlatModel() = default;

  core::Layout layout_;
  std::vector<FlatTensor> tensors_;
  torch::Tensor parameters_;
  torch::Tensor gradients_;
  torch::Tensor host_parameters_;  // [d], undefined unless is_copied()
  torch::Tensor host_gradients_;   // likewise
};

}  // namespace laconic::trainer
