#include "worker/trainer/nets.h"

#include <torch/nn/functional.h>
#include <torch/nn/modules.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace laconic::trainer {
namespace {

namespace nn = torch::nn;

class DenseNet : public Net {
 public:
  DenseNet(int64_t features, const std::vector<int64_t>& hidden, int64_t classes) {
    int64_t inputs = features;
    for (const int64_t width : hidden) {
      add_layer(inputs, width);
      inputs = width;
    }
    add_layer(inputs, classes);
  }

  torch::Tensor forward(const torch::Tensor& inputs) override {
    torch::Tensor x = inputs.flatten(1);
    for (size_t i = 0; i + 1 < layers_.size(); ++i) {
      x = torch::relu(layers_[i](x));
    }
    return layers_.back()(x);
  }

  bool is_hidden(const std::string& name) const override {
    return absl::EndsWith(name, ".weight") &&
           name != absl::StrCat("dense", layers_.size(), ".weight");
  }

 private:
  void add_layer(int64_t inputs, int64_t outputs) {
    layers_.push_back(
        register_module(absl::StrCat("dense", layers_.size() + 1), nn::Linear(inputs, outputs)));
  }

  std::vector<nn::Linear> layers_;
};

class ConvNet : public Net {
 public:
  explicit ConvNet(const ImageShape& shape)
      : conv1_(register_module("conv1",
                               nn::Conv2d(nn::Conv2dOptions(shape.channels, 32, 3).padding(1)))),
        conv2_(register_module("conv2", nn::Conv2d(nn::Conv2dOptions(32, 64, 3).padding(1)))),
        dense1_(register_module(
            "dense1", nn::Linear(64 * (shape.height / 2 / 2) * (shape.width / 2 / 2), 128))),
        dense2_(register_module("dense2", nn::Linear(128, shape.classes))) {}

  torch::Tensor forward(const torch::Tensor& inputs) override {
    torch::Tensor x = torch::max_pool2d(torch::relu(conv1_(inputs)), 2);
    x = torch::max_pool2d(torch::relu(conv2_(x)), 2);
    return dense2_(torch::relu(dense1_(x.flatten(1))));
  }

  bool is_hidden(const std::string& name) const override {
    return absl::EndsWith(name, ".weight") && name != "dense2.weight";
  }

 private:
  nn::Conv2d conv1_, conv2_;
  nn::Linear dense1_, dense2_;
};

constexpr int64_t kNormGroups = 8;

nn::Conv2d conv3x3(int64_t inputs, int64_t outputs, int64_t stride) {
  return nn::Conv2d(nn::Conv2dOptions(inputs, outputs, 3).stride(stride).padding(1).bias(false));
}

class ResidualBlock : public nn::Module {
 public:
  ResidualBlock(int64_t inputs, int64_t outputs)
      : added_channels_(outputs - inputs),
        stride_(inputs == outputs ? 1 : 2),
        conv1_(register_module("conv1", conv3x3(inputs, outputs, stride_))),
        norm1_(register_module("norm1", nn::GroupNorm(kNormGroups, outputs))),
        conv2_(register_module("conv2", conv3x3(outputs, outputs, 1))),
        norm2_(register_module("norm2", nn::GroupNorm(kNormGroups, outputs))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor y = torch::relu(norm1_(conv1_(x)));
    y = norm2_(conv2_(y));
    return torch::relu(y + shortcut(x));
  }

 private:
  torch::Tensor shortcut(const torch::Tensor& x) const {
    if (added_channels_ == 0) {
      return x;
    }
    const torch::Tensor strided = x.slice(2, 0, x.size(2), 2).slice(3, 0, x.size(3), 2);
    return torch::constant_pad_nd(strided, {0, 0, 0, 0, 0, added_channels_});
  }

  const int64_t added_channels_;
  const int64_t stride_;
  nn::Conv2d conv1_;
  nn::GroupNorm norm1_;
  nn::Conv2d conv2_;
  nn::GroupNorm norm2_;
};

class ResNet20 : public Net {
 public:
  explicit ResNet20(const ImageShape& shape)
      : conv1_(register_module("conv1", conv3x3(shape.channels, kWidths[0], 1))),
        norm1_(register_module("norm1", nn::GroupNorm(kNormGroups, kWidths[0]))) {
    int64_t inputs = kWidths[0];
    for (int stage = 0; stage < 3; ++stage) {
      for (int block = 0; block < 3; ++block) {
        const auto made = std::make_shared<ResidualBlock>(inputs, kWidths[stage]);
        blocks_.push_back(made);
        inputs = kWidths[stage];
      }
    }
    for (int stage = 0; stage < 3; ++stage) {
      nn::ModuleList list;
      for (int block = 0; block < 3; ++block) {
        list->push_back(blocks_[static_cast<size_t>(3 * stage + block)]);
      }
      register_module(absl::StrCat("layer", stage + 1), list);
    }
    dense1_ = register_module("dense1", nn::Linear(kWidths[2], shape.classes));
  }

  torch::Tensor forward(const torch::Tensor& inputs) override {
    torch::Tensor x = torch::relu(norm1_(conv1_(inputs)));
    for (const auto& block : blocks_) {
      x = block->forward(x);
    }
    return dense1_(x.mean({2, 3}));
  }

  bool is_hidden(const std::string& name) const override { return absl::StrContains(name, "conv"); }

 private:
  static constexpr int64_t kWidths[3] = {16, 32, 64};

  nn::Conv2d conv1_;
  nn::GroupNorm norm1_;
  std::vector<std::shared_ptr<ResidualBlock>> blocks_;
  nn::Linear dense1_{nullptr};
};

}  // namespace

std::shared_ptr<Net> make_dense_net(int64_t features, const std::vector<int64_t>& hidden,
                                    int64_t classes) {
  return std::make_shared<DenseNet>(features, hidden, classes);
}

std::shared_ptr<Net> make_conv_net(const ImageShape& shape) {
  return std::make_shared<ConvNet>(shape);
}

std::shared_ptr<Net> make_resnet20(const ImageShape& shape) {
  return std::make_shared<ResNet20>(shape);
}

}  // namespace laconic::trainer
