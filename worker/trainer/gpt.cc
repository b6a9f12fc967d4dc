// A decoder over bytes.
//
//   B  batch    T  context    D  width    A  heads
#include <torch/nn/modules.h>

#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/trainer/nets.h"

namespace laconic::trainer {
namespace {

namespace nn = torch::nn;

constexpr int64_t kTokens = 256;
constexpr double kNormEpsilon = 1e-6;
// Initial standard deviations. Matrices: kMatrixStd / sqrt(fan_in); those that end a residual
// branch start small, so that a deep model starts near the identity.
constexpr double kMatrixStd = 0.8;
constexpr double kBranchEnd = 0.3;
constexpr double kEmbeddingStd = 0.1;
constexpr double kHeadStd = 0.02;

torch::Tensor rms_norm(const torch::Tensor& x) {
  return x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + kNormEpsilon);
}

nn::Linear matrix(int64_t inputs, int64_t outputs, double factor) {
  nn::Linear layer(nn::LinearOptions(inputs, outputs).bias(false));
  nn::init::normal_(layer->weight, 0, factor * kMatrixStd / std::sqrt(static_cast<double>(inputs)));
  return layer;
}

class Block : public nn::Module {
 public:
  explicit Block(const GptShape& shape)
      : heads_(shape.heads),
        attention_in_(register_module("attention_in", matrix(shape.width, 3 * shape.width, 1))),
        attention_out_(
            register_module("attention_out", matrix(shape.width, shape.width, kBranchEnd))),
        dense1_(register_module("dense1", matrix(shape.width, 4 * shape.width, 1))),
        dense2_(register_module("dense2", matrix(4 * shape.width, shape.width, kBranchEnd))) {}

  // x: [B, T, D]; mask: [T, T], -inf above the diagonal.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask) {
    const torch::Tensor y = x + attention(rms_norm(x), mask);
    return y + dense2_(torch::relu(dense1_(rms_norm(y))).square());
  }

 private:
  torch::Tensor attention(const torch::Tensor& x, const torch::Tensor& mask) {
    const int64_t batch = x.size(0), context = x.size(1), width = x.size(2);
    // [3, B, A, T, D / A]
    const torch::Tensor qkv =
        attention_in_(x).view({batch, context, 3, heads_, width / heads_}).permute({2, 0, 3, 1, 4});
    const double scale = 1 / std::sqrt(static_cast<double>(width / heads_));
    const torch::Tensor scores = torch::matmul(qkv[0] * scale, qkv[1].transpose(-2, -1)) + mask;
    const torch::Tensor mixed = torch::matmul(torch::softmax(scores, -1), qkv[2]);
    return attention_out_(mixed.transpose(1, 2).reshape({batch, context, width}));
  }

  const int64_t heads_;
  nn::Linear attention_in_, attention_out_, dense1_, dense2_;
};

class Gpt : public Net {
 public:
  explicit Gpt(const GptShape& shape)
      : token_embedding_(register_module("token_embedding", nn::Embedding(kTokens, shape.width))),
        position_embedding_(
            register_module("position_embedding", nn::Embedding(shape.context, shape.width))) {
    nn::ModuleList list;
    for (int64_t i = 0; i < shape.layers; ++i) {
      blocks_.push_back(std::make_shared<Block>(shape));
      list->push_back(blocks_.back());
    }
    register_module("blocks", list);
    head_ =
        register_module("head", nn::Linear(nn::LinearOptions(shape.width, kTokens).bias(false)));
    nn::init::normal_(token_embedding_->weight, 0, kEmbeddingStd);
    nn::init::normal_(position_embedding_->weight, 0, kEmbeddingStd);
    nn::init::normal_(head_->weight, 0, kHeadStd);
    mask_ = torch::full({shape.context, shape.context}, -std::numeric_limits<float>::infinity())
                .triu(1);
  }

  // inputs: [B, T] int64, T at most context. Returns [B, T, 256].
  torch::Tensor forward(const torch::Tensor& inputs) override {
    const int64_t context = inputs.size(1);
    torch::Tensor x = token_embedding_(inputs) + position_embedding_->weight.slice(0, 0, context);
    if (mask_.device() != x.device()) {  // No buffer: it would be saved with the model.
      mask_ = mask_.to(x.device());
    }
    const torch::Tensor mask = mask_.slice(0, 0, context).slice(1, 0, context);
    for (const auto& block : blocks_) {
      x = block->forward(x, mask);
    }
    return head_(rms_norm(x));
  }

  bool is_hidden(const std::string& name) const override {
    return absl::StartsWith(name, "blocks.");
  }

 private:
  nn::Embedding token_embedding_, position_embedding_;
  std::vector<std::shared_ptr<Block>> blocks_;
  nn::Linear head_{nullptr};
  torch::Tensor mask_;
};

}  // namespace

std::shared_ptr<Net> make_gpt(const GptShape& shape) {
  return std::make_shared<Gpt>(shape);
}

}  // namespace laconic::trainer
