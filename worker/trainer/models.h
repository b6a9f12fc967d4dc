// The models a job may name, and the user's own from a TorchScript file.
//
// Parameters in order, which is that of torch's parameters() and of wire::model_layout(). A tensor
// is [rows x columns]: rows = size(0), columns = the product of the rest; a vector is 1 x n.
//   c, h, w  channels, height, width of an image    f  features    k  classes
//
//   softmax   dense1.weight [k x f], dense1.bias [1 x k]
//   linear    dense1.weight [1 x f], dense1.bias [1 x 1]
//   mlp       per layer i = 1, 2, ..: dense<i>.weight [outputs x inputs], dense<i>.bias [1 x
//   outputs];
//             the last layer has k outputs
//   conv      conv1.weight [32 x 9c], conv1.bias [1 x 32], conv2.weight [64 x 288],
//             conv2.bias [1 x 64], dense1.weight [128 x 64 (h/4)(w/4)], dense1.bias [1 x 128],
//             dense2.weight [k x 128], dense2.bias [1 x k]
//   resnet20  conv1.weight [16 x 9c], norm1.weight [1 x 16], norm1.bias [1 x 16]; per stage
//             s = 1..3 of width n = 16, 32, 64 and block b = 0..2 (m inputs):
//             layer<s>.<b>.conv1.weight [n x 9m], .norm1.weight [1 x n], .norm1.bias [1 x n],
//             .conv2.weight [n x 9n], .norm2.weight [1 x n], .norm2.bias [1 x n];
//             dense1.weight [k x 64], dense1.bias [1 x k]
//   gpt       token_embedding.weight [256 x width], position_embedding.weight [context x width];
//             per block i = 0, 1, ..: blocks.<i>.attention_in.weight [3 width x width],
//             .attention_out.weight [width x width], .dense1.weight [4 width x width],
//             .dense2.weight [width x 4 width]; head.weight [256 x width]
//
// Which tensors Muon takes (ParameterRole::kHidden); AdamW takes all others:
//
//   softmax   none, nor of linear
//   mlp       all weights but the last layer's
//   conv      conv1, conv2, dense1
//   resnet20  all convolutions
//   gpt       the four matrices of every block
//   torchscript  tensors of two or more dimensions, but the last such one (taken for the head) and
//             those with "embed" in their name
#pragma once

#include <torch/nn/module.h>
#include <torch/script.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/data_shape.h"

namespace laconic::trainer {

enum class ParameterRole : uint8_t { kOther, kHidden };

struct Parameter {
  std::string name;
  torch::Tensor value;  // float32, requires_grad
  ParameterRole role = ParameterRole::kOther;
};

// Owned by one thread.
class Model {
 public:
  virtual ~Model() = default;

  // inputs: as Dataset gives them, on any device. Returns, where the model is, logits [batch,
  // classes], for gpt [batch, context, 256], or what a TorchScript model makes.
  virtual torch::Tensor forward(const torch::Tensor& inputs) = 0;
  virtual void set_training(bool training) = 0;
  // Moves all that forward() needs there; before FlatModel takes the parameters.
  virtual void move_to(const torch::Device& device) = 0;

  // In the fixed order in which they are flattened.
  virtual std::vector<Parameter> parameters() = 0;
  // Numbers that forward() changes but no gradient trains (BatchNorm statistics), of any type.
  struct Buffer {
    std::string name;
    torch::Tensor value;
  };
  virtual std::vector<Buffer> buffers() const { return {}; }

  virtual v1::Loss loss() const { return v1::CROSS_ENTROPY; }
  // True for a model that came as a TorchScript file and has a program to save.
  virtual bool is_script() const { return false; }
  // Writes that file anew, for the CPU; the model is of no use afterwards. Errors: Unimplemented
  // unless is_script(). Throws what torch throws.
  virtual absl::Status save(const std::string& path);
};

// A model of ours: modules in construction order.
class Net : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& inputs) = 0;
  // True for the tensors that the table above calls hidden.
  virtual bool is_hidden(const std::string& parameter_name) const = 0;
};

// Makes the model of a job for data of the given shape. The initial weights depend on `seed` only.
// Errors: InvalidArgument, reason BAD_MODEL, when model and data do not fit together or the
// TorchScript file cannot be used.
absl::StatusOr<std::unique_ptr<Model>> make_model(const v1::Model& spec, const DataShape& data,
                                                  uint64_t seed);

// Mean loss over a batch, and how many predictions were right (-1: not a classifier).
struct LossResult {
  torch::Tensor loss;  // scalar, float32
  int64_t correct = -1;
  int64_t predictions = 0;
};
// outputs and labels as the comments in job.proto's Loss say; labels are int64 for CROSS_ENTROPY,
// float32 otherwise, and may be on another device. count_correct = false saves the time for it.
// Errors: InvalidArgument, reason BAD_MODEL, if the shapes do not fit the loss.
absl::StatusOr<LossResult> compute_loss(v1::Loss loss, const torch::Tensor& outputs,
                                        const torch::Tensor& labels, bool count_correct);

}  // namespace laconic::trainer
