#include "worker/trainer/optimizer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/testing/status_matchers.h"

namespace laconic::trainer {
namespace {

// Both sides compute in float32 in another order of operations.
constexpr double kFloatTolerance = 1e-6;

// A matrix [5 x 3] and a vector [4], all hidden or all other.
class TwoTensors : public Model {
 public:
  explicit TwoTensors(ParameterRole role) : role_(role) {
    torch::manual_seed(1);
    matrix_ = torch::randn({5, 3}).requires_grad_();
    vector_ = torch::randn({4}).requires_grad_();
  }
  torch::Tensor forward(const torch::Tensor& inputs) override {
    return (matrix_.square() * inputs).sum() + (vector_ * vector_ * vector_).sum();
  }
  void set_training(bool /*training*/) override {}
  void move_to(const torch::Device& /*device*/) override {}
  std::vector<Parameter> parameters() override {
    return {{.name = "matrix", .value = matrix_, .role = role_},
            {.name = "vector", .value = vector_, .role = ParameterRole::kOther}};
  }
  torch::Tensor matrix_;
  torch::Tensor vector_;

 private:
  const ParameterRole role_;
};

// Runs five steps of ours and of `theirs` from the same weights; the largest difference.
template <typename MakeOurs, typename MakeTheirs>
double difference_after_five_steps(const MakeOurs& make_ours, const MakeTheirs& make_theirs) {
  TwoTensors ours(ParameterRole::kOther);
  TwoTensors theirs(ParameterRole::kOther);
  const auto flat = FlatModel::create(ours).value();
  const auto our_optimizer = make_ours(*flat);
  const auto their_optimizer = make_theirs(theirs);
  for (int step = 0; step < 5; ++step) {
    const torch::Tensor inputs = torch::full({5, 3}, 1.0 + step);
    flat->zero_gradients();
    ours.forward(inputs).backward();
    our_optimizer->step(1.0);
    their_optimizer->zero_grad();
    theirs.forward(inputs).backward();
    their_optimizer->step();
  }
  return std::max((ours.matrix_ - theirs.matrix_).abs().max().template item<double>(),
                  (ours.vector_ - theirs.vector_).abs().max().template item<double>());
}

TEST(SgdTest, AgreesWithTorch) {
  for (const bool nesterov : {false, true}) {
    const auto ours = [&](const FlatModel& model) {
      v1::Sgd spec;
      spec.set_learning_rate(0.01);
      spec.set_momentum(0.9);
      spec.set_weight_decay(0.1);
      spec.set_nesterov(nesterov);
      return make_sgd(model, spec);
    };
    const auto theirs = [&](TwoTensors& model) {
      return std::make_unique<torch::optim::SGD>(
          std::vector<torch::Tensor>{model.matrix_, model.vector_},
          torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(0.1).nesterov(nesterov));
    };
    EXPECT_LT(difference_after_five_steps(ours, theirs), kFloatTolerance);
  }
}

TEST(AdamWTest, AgreesWithTorch) {
  const auto ours = [](const FlatModel& model) {
    v1::AdamW spec;
    spec.set_learning_rate(0.02);
    spec.set_beta1(0.8);
    spec.set_beta2(0.95);
    spec.set_epsilon(1e-6);
    return make_adamw(model, spec, AdamScope::kAll);
  };
  const auto theirs = [](TwoTensors& model) {
    return std::make_unique<torch::optim::AdamW>(
        std::vector<torch::Tensor>{model.matrix_, model.vector_},
        torch::optim::AdamWOptions(0.02).betas({0.8, 0.95}).eps(1e-6).weight_decay(0));
  };
  EXPECT_LT(difference_after_five_steps(ours, theirs), kFloatTolerance);
}

TEST(AdamWTest, DecaysMatricesOnly) {
  TwoTensors model(ParameterRole::kOther);
  const torch::Tensor matrix = model.matrix_.detach().clone();
  const torch::Tensor vector = model.vector_.detach().clone();
  const auto flat = FlatModel::create(model).value();
  v1::AdamW spec;
  spec.set_learning_rate(0.1);
  spec.set_beta1(0.9);
  spec.set_beta2(0.9);
  spec.set_epsilon(1e-8);
  spec.set_weight_decay(0.5);
  make_adamw(*flat, spec, AdamScope::kAll)->step(1.0);  // All gradients are zero.
  EXPECT_TRUE(model.matrix_.allclose(matrix * 0.95));
  EXPECT_TRUE(model.vector_.equal(vector));
}

v1::Muon muon_spec() {
  v1::Muon spec;
  spec.set_learning_rate(0.02);
  spec.set_momentum(0.95);
  spec.mutable_adamw()->set_learning_rate(0.003);
  spec.mutable_adamw()->set_beta1(0.9);
  spec.mutable_adamw()->set_beta2(0.999);
  spec.mutable_adamw()->set_epsilon(1e-8);
  return spec;
}

TEST(MuonTest, MovesHiddenMatricesByAScaledSemiOrthogonalStep) {
  TwoTensors model(ParameterRole::kHidden);
  const torch::Tensor before = model.matrix_.detach().clone();
  const auto flat = FlatModel::create(model).value();
  model.forward(torch::rand({5, 3})).backward();
  make_muon(*flat, muon_spec())->step(0.5);
  const torch::Tensor moved = (model.matrix_.detach() - before) / (0.02 * 0.5);
  // Scale sqrt(max(1, rows / columns)); singular values of the step end in about 0.7..1.2.
  const torch::Tensor singular = std::get<1>(torch::svd(moved)) / std::sqrt(5.0 / 3.0);
  EXPECT_GT(singular.min().item<double>(), 0.6);
  EXPECT_LT(singular.max().item<double>(), 1.3);
}

TEST(MuonTest, LeavesTheRestToAdamW) {
  TwoTensors muon_model(ParameterRole::kHidden);
  TwoTensors adam_model(ParameterRole::kHidden);
  const auto muon_flat = FlatModel::create(muon_model).value();
  const auto adam_flat = FlatModel::create(adam_model).value();
  muon_model.forward(torch::ones({5, 3})).backward();
  adam_model.forward(torch::ones({5, 3})).backward();
  make_muon(*muon_flat, muon_spec())->step(1.0);
  make_adamw(*adam_flat, muon_spec().adamw(), AdamScope::kOther)->step(1.0);
  EXPECT_TRUE(muon_model.vector_.equal(adam_model.vector_));
  EXPECT_FALSE(muon_model.matrix_.equal(adam_model.matrix_));
}

TEST(MuonTest, OrthogonalizesTallAndWideMatricesAlike) {
  torch::manual_seed(2);
  const torch::Tensor tall = torch::randn({64, 9});
  const torch::Tensor x = orthogonalize(tall);
  EXPECT_EQ(x.sizes(), tall.sizes());
  EXPECT_TRUE(x.allclose(orthogonalize(tall.t()).t()));
  const torch::Tensor singular = std::get<1>(torch::svd(x));
  EXPECT_GT(singular.min().item<double>(), 0.6);
  EXPECT_LT(singular.max().item<double>(), 1.3);
}

TEST(MuonTest, ProductsInBfloat16KeepTheDirection) {
  torch::manual_seed(2);
  const torch::Tensor tall = torch::randn({64, 9});
  const torch::Tensor exact = orthogonalize(tall);
  const torch::Tensor rounded = orthogonalize(tall, torch::kBFloat16);
  EXPECT_EQ(rounded.dtype(), torch::kFloat32);
  EXPECT_FALSE(rounded.equal(exact));
  const double cosine = ((exact * rounded).sum() / (exact.norm() * rounded.norm())).item<double>();
  EXPECT_GT(cosine, 0.99);
}

TEST(MuonTest, AZeroGradientStaysZero) {
  EXPECT_EQ(orthogonalize(torch::zeros({4, 7})).abs().max().item<float>(), 0);
}

TEST(OptimizerTest, RefusesAJobWithoutOne) {
  TwoTensors model(ParameterRole::kOther);
  const auto flat = FlatModel::create(model).value();
  EXPECT_THAT(make_optimizer({}, *flat),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                ::testing::HasSubstr("sgd, adamw, muon")));
}

v1::Train train_by(const std::string& name) {
  v1::Train train;
  v1::Optimizer& optimizer = *train.mutable_optimizer();
  if (name == "sgd") {
    optimizer.mutable_sgd()->set_learning_rate(0.1);
    optimizer.mutable_sgd()->set_momentum(0.9);
    optimizer.mutable_sgd()->set_nesterov(true);
  } else if (name == "plain") {
    optimizer.mutable_sgd()->set_learning_rate(0.1);
    optimizer.mutable_sgd()->set_momentum(0);
  } else {
    v1::AdamW adamw;
    adamw.set_learning_rate(0.01);
    adamw.set_beta1(0.9);
    adamw.set_beta2(0.99);
    adamw.set_epsilon(1e-8);
    if (name == "adamw") {
      *optimizer.mutable_adamw() = adamw;
    } else {
      optimizer.mutable_muon()->set_learning_rate(0.02);
      optimizer.mutable_muon()->set_momentum(0.95);
      *optimizer.mutable_muon()->mutable_adamw() = adamw;
    }
  }
  return train;
}

TEST(OptimizerStateTest, RestoredItGoesOnBitForBit) {
  for (const std::string name : {"plain", "sgd", "adamw", "muon"}) {
    SCOPED_TRACE(name);
    TwoTensors straight(ParameterRole::kHidden);
    TwoTensors resumed(ParameterRole::kHidden);
    const auto flat = FlatModel::create(straight).value();
    const auto other = FlatModel::create(resumed).value();
    const auto optimizer = make_optimizer(train_by(name), *flat).value();
    const auto step = [](TwoTensors& model, FlatModel& of, Optimizer& by) {
      of.zero_gradients();
      model.forward(torch::full({5, 3}, 0.5)).backward();
      by.step(1.0);
    };
    step(straight, *flat, *optimizer);
    step(straight, *flat, *optimizer);
    core::StateWriter writer;
    optimizer->save(writer);
    const std::vector<uint8_t> state = std::move(writer).take();
    other->parameters().copy_(flat->parameters());
    const auto again = make_optimizer(train_by(name), *other).value();
    ASSERT_OK_AND_ASSIGN(core::StateReader reader, core::StateReader::open(state));
    ASSERT_OK(again->restore(reader));
    ASSERT_OK(reader.done());
    step(straight, *flat, *optimizer);
    step(resumed, *other, *again);
    EXPECT_TRUE(other->parameters().equal(flat->parameters()));
  }
}

}  // namespace
}  // namespace laconic::trainer
