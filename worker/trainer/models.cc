#include "worker/trainer/models.h"

#include <sys/stat.h>
#include <torch/nn/functional.h>
#include <torch/utils.h>

#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/nets.h"
#include "worker/trainer/whole_file.h"

namespace laconic::trainer {
namespace {

class NetModel : public Model {
 public:
  explicit NetModel(std::shared_ptr<Net> net) : net_(std::move(net)) {}

  torch::Tensor forward(const torch::Tensor& inputs) override {
    return net_->forward(inputs.to(device_));
  }
  void set_training(bool training) override { net_->train(training); }
  void move_to(const torch::Device& device) override {
    net_->to(device);
    device_ = device;
  }

  std::vector<Parameter> parameters() override {
    std::vector<Parameter> result;
    for (const auto& item : net_->named_parameters(/*recurse=*/true)) {
      result.push_back(
          {.name = item.key(),
           .value = item.value(),
           .role = net_->is_hidden(item.key()) ? ParameterRole::kHidden : ParameterRole::kOther});
    }
    return result;
  }

 private:
  std::shared_ptr<Net> net_;
  torch::Device device_ = torch::kCPU;
};

// One output, compared by the loss that the job names.
class LinearModel final : public NetModel {
 public:
  LinearModel(std::shared_ptr<Net> net, v1::Loss loss) : NetModel(std::move(net)), loss_(loss) {}
  v1::Loss loss() const override { return loss_; }

 private:
  const v1::Loss loss_;
};

class ScriptModel : public Model {
 public:
  ScriptModel(torch::jit::Module module, v1::Loss loss) : module_(std::move(module)), loss_(loss) {}

  torch::Tensor forward(const torch::Tensor& inputs) override {
    return module_.forward({inputs.to(device_)}).toTensor();
  }
  void set_training(bool training) override { module_.train(training); }
  void move_to(const torch::Device& device) override {
    module_.to(device);
    device_ = device;
  }

  std::vector<Parameter> parameters() override {
    std::vector<Parameter> result;
    size_t last_matrix = 0;
    for (const auto& item : module_.named_parameters(/*recurse=*/true)) {
      if (!item.value.requires_grad()) {
        continue;
      }
      const bool matrix = item.value.dim() >= 2;
      const bool hidden = matrix && !absl::StrContains(item.name, "embed");
      last_matrix = matrix ? result.size() : last_matrix;
      result.push_back({.name = item.name,
                        .value = item.value,
                        .role = hidden ? ParameterRole::kHidden : ParameterRole::kOther});
    }
    if (!result.empty()) {
      result[last_matrix].role = ParameterRole::kOther;
    }
    return result;
  }

  std::vector<Buffer> buffers() const override {
    std::vector<Buffer> result;
    for (const auto& item : module_.named_buffers(/*recurse=*/true)) {
      result.push_back({.name = item.name, .value = item.value});
    }
    return result;
  }

  v1::Loss loss() const override { return loss_; }
  bool is_script() const override { return true; }

  absl::Status save(const std::string& path) override {
    move_to(torch::kCPU);
    // The parameters are views of one long vector; a reader should not see that.
    for (const auto& item : module_.named_parameters(/*recurse=*/true)) {
      torch::Tensor value = item.value;
      value.set_data(value.detach().clone());
    }
    // On a full disk torch's own file writer ends the process, or says nothing (small models).
    std::ostringstream bytes;
    module_.save(bytes);
    const std::span<const std::byte> whole = std::as_bytes(std::span(bytes.view()));
    return write_parts(path, {&whole, 1});
  }

 private:
  torch::jit::Module module_;
  torch::Device device_ = torch::kCPU;
  const v1::Loss loss_;
};

// What the job says, or what the data has. Errors: when both are there and differ.
absl::StatusOr<int64_t> agree(const char* field, int64_t given, int64_t data) {
  if (given != 0 && data != 0 && given != data) {
    return bad_model(absl::StrCat("spec.model: ", field, " is ", given, " but the data has ", data,
                                  "; leave the field out to take what the data has"));
  }
  return given != 0 ? given : data;
}

absl::StatusOr<int64_t> agree_classes(int64_t given, const DataShape& data) {
  // A class that does not occur in this rank's data is no contradiction; one too many is.
  if (given != 0 && given < data.classes) {
    return bad_model(absl::StrCat("spec.model: classes is ", given,
                                  " but the labels of the data go up to ", data.classes - 1));
  }
  const int64_t classes = given != 0 ? given : data.classes;
  if (classes < 2) {
    return bad_model(absl::StrCat("spec.model: a classifier needs 2 classes, the data has ",
                                  classes, "; set classes, or take other data"));
  }
  return classes;
}

// Conv or ResNet20 of the job.
template <typename Spec>
absl::StatusOr<ImageShape> image_shape(const Spec& spec, const DataShape& data, int64_t side_min) {
  if (!data.images) {
    return bad_model(
        "spec.model: conv and resnet20 need images (spec.data.idx); this data has plain columns");
  }
  ImageShape shape;
  LACONIC_ASSIGN_OR_RETURN(shape.channels, agree("channels", spec.channels(), data.channels));
  LACONIC_ASSIGN_OR_RETURN(shape.height, agree("height", spec.height(), data.height));
  LACONIC_ASSIGN_OR_RETURN(shape.width, agree("width", spec.width(), data.width));
  LACONIC_ASSIGN_OR_RETURN(shape.classes, agree_classes(spec.classes(), data));
  if (shape.height < side_min || shape.width < side_min) {
    return bad_model(absl::StrCat("spec.model: images of ", shape.height, "x", shape.width,
                                  " are too small, at least ", side_min, "x", side_min,
                                  " are needed; take mlp"));
  }
  return shape;
}

absl::StatusOr<std::shared_ptr<Net>> make_dense(int64_t features, int64_t classes,
                                                std::vector<int64_t> hidden,
                                                const DataShape& data) {
  LACONIC_ASSIGN_OR_RETURN(features, agree("features", features, data.features));
  LACONIC_ASSIGN_OR_RETURN(classes, agree_classes(classes, data));
  return make_dense_net(features, hidden, classes);
}

absl::StatusOr<std::shared_ptr<Net>> make_net(const v1::Model& spec, const DataShape& data) {
  switch (spec.model_case()) {
    case v1::Model::kSoftmax:
      return make_dense(spec.softmax().features(), spec.softmax().classes(), {}, data);
    case v1::Model::kMlp:
      return make_dense(spec.mlp().features(), spec.mlp().classes(),
                        {spec.mlp().hidden().begin(), spec.mlp().hidden().end()}, data);
    case v1::Model::kConv: {
      LACONIC_ASSIGN_OR_RETURN(const ImageShape shape, image_shape(spec.conv(), data, 4));
      return make_conv_net(shape);
    }
    case v1::Model::kResnet20: {
      LACONIC_ASSIGN_OR_RETURN(const ImageShape shape, image_shape(spec.resnet20(), data, 8));
      return make_resnet20(shape);
    }
    case v1::Model::kGpt:
      return make_gpt({.layers = spec.gpt().layers(),
                       .width = spec.gpt().width(),
                       .heads = spec.gpt().heads(),
                       .context = spec.gpt().context()});
    case v1::Model::kLinear: {
      LACONIC_ASSIGN_OR_RETURN(const int64_t features,
                               agree("features", spec.linear().features(), data.features));
      return make_dense_net(features, {}, /*classes=*/1);
    }
    case v1::Model::kTorchscript:
    case v1::Model::MODEL_NOT_SET:
      break;
  }
  return bad_model(
      "spec.model is not set; allowed: softmax, mlp, conv, resnet20, gpt, torchscript, linear");
}

absl::StatusOr<std::unique_ptr<Model>> load_script(const v1::TorchScript& spec) {
  struct stat status {};
  if (stat(spec.file().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return bad_model(absl::StrCat("spec.model.torchscript.file: ", spec.file(),
                                  " is not a file on this node; put it there on every node"));
  }
  try {
    torch::jit::Module module = torch::jit::load(spec.file(), torch::kCPU);
    return std::make_unique<ScriptModel>(std::move(module), spec.loss());
  } catch (const std::exception& error) {
    return bad_model(absl::StrCat("spec.model.torchscript.file: ", spec.file(),
                                  " is not a TorchScript module: ", first_line(error.what()),
                                  "; save it with torch.jit.script(model).save(path)"));
  }
}

absl::StatusOr<LossResult> cross_entropy(const torch::Tensor& outputs, const torch::Tensor& labels,
                                         bool count_correct) {
  const int64_t classes = outputs.dim() < 2 ? 0 : outputs.size(-1);
  if (classes < 2 || outputs.numel() / classes != labels.numel()) {
    return bad_model(
        absl::StrCat("the model's output has shape [", absl::StrJoin(outputs.sizes(), ", "),
                     "], CROSS_ENTROPY needs [batch, classes] with batch ", labels.numel()));
  }
  const torch::Tensor logits = outputs.reshape({-1, classes});
  const torch::Tensor flat = labels.reshape({-1}).to(outputs.device());
  const int64_t largest = flat.max().item<int64_t>();
  if (largest >= classes) {
    return bad_model(
        absl::StrCat("a label is ", largest, " but the model has only ", classes, " outputs"));
  }
  LossResult result{.loss = torch::nn::functional::cross_entropy(logits, flat),
                    .predictions = flat.numel()};
  if (count_correct) {
    result.correct = logits.argmax(1).eq(flat).sum().item<int64_t>();
  }
  return result;
}

}  // namespace

absl::Status Model::save(const std::string& path) {
  return absl::UnimplementedError(absl::StrCat(path, ": only TorchScript models have a program"));
}

absl::StatusOr<std::unique_ptr<Model>> make_model(const v1::Model& spec, const DataShape& data,
                                                  uint64_t seed) {
  if (data.tokens && !spec.has_gpt() && !spec.has_torchscript()) {
    return bad_model("spec.model: text (spec.data.bytes) needs the model gpt or torchscript");
  }
  if (spec.has_gpt() && !data.tokens) {
    return bad_model("spec.model: gpt needs text (spec.data.bytes)");
  }
  torch::manual_seed(seed);
  if (spec.has_torchscript()) {
    return load_script(spec.torchscript());
  }
  LACONIC_ASSIGN_OR_RETURN(std::shared_ptr<Net> net, make_net(spec, data));
  if (spec.has_linear()) {
    return std::make_unique<LinearModel>(std::move(net), spec.linear().loss());
  }
  return std::make_unique<NetModel>(std::move(net));
}

absl::StatusOr<LossResult> compute_loss(v1::Loss loss, const torch::Tensor& outputs,
                                        const torch::Tensor& labels, bool count_correct) {
  if (loss == v1::CROSS_ENTROPY) {
    return cross_entropy(outputs, labels, count_correct);
  }
  if (outputs.numel() != labels.numel()) {
    return bad_model(absl::StrCat("the model's output has shape [",
                                  absl::StrJoin(outputs.sizes(), ", "), "], ", v1::Loss_Name(loss),
                                  " needs [batch] or [batch, 1] with batch ", labels.numel()));
  }
  const torch::Tensor flat = outputs.reshape({-1});
  const torch::Tensor target = labels.reshape({-1}).to(outputs.device(), torch::kFloat32);
  LossResult result{.loss = {}, .predictions = target.numel()};
  if (loss == v1::MSE) {
    result.loss = torch::mse_loss(flat, target);
    return result;
  }
  result.loss = torch::binary_cross_entropy_with_logits(flat, target);
  if (count_correct) {
    result.correct = flat.gt(0).eq(target.gt(0.5)).sum().item<int64_t>();
  }
  return result;
}

}  // namespace laconic::trainer
