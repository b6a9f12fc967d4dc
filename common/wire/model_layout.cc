#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/wire/job_defaults.h"
#include "common/wire/job_spec.h"

// The trainer builds these models (worker/trainer); tests there compare its parameters with this.

namespace laconic::wire {
namespace {

// Appends tensors in the order of torch's parameters().
class LayoutBuilder {
 public:
  core::Layout take() { return std::move(layout_); }

  void tensor(const std::string& name, int64_t rows, int64_t columns) {
    layout_.tensors.push_back({.name = name, .rows = rows, .columns = columns});
  }
  // Weight [outputs, inputs] and bias [outputs].
  void linear(const std::string& name, int64_t inputs, int64_t outputs) {
    tensor(name + ".weight", outputs, inputs);
    tensor(name + ".bias", 1, outputs);
  }
  // Scale and shift of a group norm.
  void norm(const std::string& name, int64_t channels) {
    tensor(name + ".weight", 1, channels);
    tensor(name + ".bias", 1, channels);
  }

 private:
  core::Layout layout_;
};

struct ImageShape {
  int64_t channels, height, width, classes;
};

template <typename Image>
ImageShape image_shape(const Image& model, const DataShape& assumed) {
  return {.channels = model.has_channels() ? model.channels() : assumed.channels,
          .height = model.has_height() ? model.height() : assumed.height,
          .width = model.has_width() ? model.width() : assumed.width,
          .classes = model.has_classes() ? model.classes() : assumed.classes};
}

core::Layout softmax_layout(const v1::Softmax& model, const DataShape& assumed) {
  LayoutBuilder builder;
  builder.linear("dense1", model.has_features() ? model.features() : assumed.features,
                 model.has_classes() ? model.classes() : assumed.classes);
  return builder.take();
}

core::Layout linear_layout(const v1::Linear& model, const DataShape& assumed) {
  LayoutBuilder builder;
  builder.linear("dense1", model.has_features() ? model.features() : assumed.features, 1);
  return builder.take();
}

core::Layout mlp_layout(const v1::Mlp& model, const DataShape& assumed) {
  LayoutBuilder builder;
  int64_t inputs = model.has_features() ? model.features() : assumed.features;
  int layer = 1;
  for (const int32_t width : model.hidden()) {
    builder.linear(absl::StrCat("dense", layer++), inputs, width);
    inputs = width;
  }
  builder.linear(absl::StrCat("dense", layer), inputs,
                 model.has_classes() ? model.classes() : assumed.classes);
  return builder.take();
}

core::Layout conv_layout(const ImageShape& shape) {
  LayoutBuilder builder;
  builder.linear("conv1", shape.channels * 9, 32);
  builder.linear("conv2", int64_t{32} * 9, 64);
  // Two 2x2 pools, each rounding down.
  builder.linear("dense1", 64 * (shape.height / 2 / 2) * (shape.width / 2 / 2), 128);
  builder.linear("dense2", 128, shape.classes);
  return builder.take();
}

core::Layout resnet20_layout(const ImageShape& shape) {
  LayoutBuilder builder;
  builder.tensor("conv1.weight", 16, shape.channels * 9);
  builder.norm("norm1", 16);
  int64_t inputs = 16;
  for (int stage = 1; stage <= 3; ++stage) {
    const int64_t channels = 16 << (stage - 1);
    for (int block = 0; block < 3; ++block) {
      const std::string name = absl::StrCat("layer", stage, ".", block);
      builder.tensor(name + ".conv1.weight", channels, inputs * 9);
      builder.norm(name + ".norm1", channels);
      builder.tensor(name + ".conv2.weight", channels, channels * 9);
      builder.norm(name + ".norm2", channels);
      inputs = channels;
    }
  }
  builder.linear("dense1", 64, shape.classes);
  return builder.take();
}

core::Layout gpt_layout(const v1::Gpt& model) {
  constexpr int64_t kBytes = 256;
  const int64_t width = model.width();
  LayoutBuilder builder;
  builder.tensor("token_embedding.weight", kBytes, width);
  builder.tensor("position_embedding.weight", model.context(), width);
  for (int layer = 0; layer < model.layers(); ++layer) {
    const std::string name = absl::StrCat("blocks.", layer);
    builder.tensor(name + ".attention_in.weight", 3 * width, width);
    builder.tensor(name + ".attention_out.weight", width, width);
    builder.tensor(name + ".dense1.weight", 4 * width, width);
    builder.tensor(name + ".dense2.weight", width, 4 * width);
  }
  builder.tensor("head.weight", kBytes, width);
  return builder.take();
}

}  // namespace

absl::StatusOr<core::Layout> model_layout(const v1::Model& given, const DataShape& assumed) {
  const v1::Model model = with_model_defaults(given);
  switch (model.model_case()) {
    case v1::Model::kSoftmax:
      return softmax_layout(model.softmax(), assumed);
    case v1::Model::kMlp:
      return mlp_layout(model.mlp(), assumed);
    case v1::Model::kConv:
      return conv_layout(image_shape(model.conv(), assumed));
    case v1::Model::kResnet20:
      return resnet20_layout(image_shape(model.resnet20(), assumed));
    case v1::Model::kGpt:
      return gpt_layout(model.gpt());
    case v1::Model::kLinear:
      return linear_layout(model.linear(), assumed);
    case v1::Model::kTorchscript:
      return absl::FailedPreconditionError(
          "the shapes of a TorchScript model are known only after its file is loaded on a node");
    case v1::Model::MODEL_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "spec.model is missing; allowed: one of softmax, mlp, conv, resnet20, gpt, torchscript, "
      "linear");
}

}  // namespace laconic::wire
