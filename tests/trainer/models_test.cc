#include "worker/trainer/models.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/wire/job_spec.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"
#include "worker/trainer/flat_model.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

constexpr DataShape kImages{.tokens = false,
                            .images = true,
                            .channels = 1,
                            .height = 28,
                            .width = 28,
                            .features = 784,
                            .classes = 10};
constexpr DataShape kColumns{.width = 30, .features = 30, .classes = 2};
constexpr DataShape kText{.tokens = true, .features = 128, .classes = 256};

enum class Kind : uint8_t { kSoftmax, kMlp, kConv, kResnet20, kGpt };

v1::Model spec_of(Kind kind) {
  v1::Model model;
  switch (kind) {
    case Kind::kSoftmax:
      model.mutable_softmax();
      break;
    case Kind::kMlp:
      model.mutable_mlp()->add_hidden(20);
      model.mutable_mlp()->add_hidden(12);
      break;
    case Kind::kConv:
      model.mutable_conv();
      break;
    case Kind::kResnet20:
      model.mutable_resnet20();
      break;
    case Kind::kGpt:
      model.mutable_gpt()->set_layers(2);
      model.mutable_gpt()->set_width(32);
      model.mutable_gpt()->set_heads(2);
      model.mutable_gpt()->set_context(16);
      break;
  }
  return model;
}

class ModelsTest : public ::testing::TestWithParam<Kind> {
 protected:
  static std::unique_ptr<Model> make(uint64_t seed) {
    return make_model(spec_of(GetParam()), shape(), seed).value();
  }
  static DataShape shape() { return GetParam() == Kind::kGpt ? kText : kImages; }
  static torch::Tensor inputs() {
    return GetParam() == Kind::kGpt ? torch::randint(256, {3, 16}, torch::kInt64)
                                    : torch::randn({3, 1, 28, 28});
  }
  static torch::Tensor labels() {
    return GetParam() == Kind::kGpt ? torch::randint(256, {3, 16}, torch::kInt64)
                                    : torch::randint(10, {3}, torch::kInt64);
  }
};

TEST_P(ModelsTest, ParametersAreThoseThatTheJobPredicts) {
  const auto model = make(0);
  const auto flat = FlatModel::create(*model).value();
  EXPECT_EQ(flat->layout(), wire::model_layout(spec_of(GetParam()), {}).value());
}

TEST_P(ModelsTest, EqualSeedsGiveEqualWeights) {
  const auto a = make(7);
  const auto b = make(7);
  const auto c = make(8);
  EXPECT_TRUE(FlatModel::create(*a).value()->parameters().equal(
      FlatModel::create(*b).value()->parameters()));
  EXPECT_FALSE(FlatModel::create(*a).value()->parameters().equal(
      FlatModel::create(*c).value()->parameters()));
}

TEST_P(ModelsTest, EveryTensorGetsAGradient) {
  const auto model = make(1);
  const auto flat = FlatModel::create(*model).value();
  const LossResult result =
      compute_loss(v1::CROSS_ENTROPY, model->forward(inputs()), labels(), true).value();
  EXPECT_GE(result.correct, 0);
  result.loss.backward();
  for (const FlatTensor& tensor : flat->tensors()) {
    EXPECT_GT(tensor.gradient.abs().sum().item<double>(), 0) << tensor.name;
  }
}

TEST_P(ModelsTest, InitialLossIsNearThatOfAGuess) {
  const auto model = make(1);
  model->set_training(false);
  const double loss = compute_loss(v1::CROSS_ENTROPY, model->forward(inputs()), labels(), false)
                          .value()
                          .loss.item<double>();
  const double guess = std::log(GetParam() == Kind::kGpt ? 256.0 : 10.0);
  EXPECT_NEAR(loss, guess, 1.5);
}

std::string name_of(const ::testing::TestParamInfo<Kind>& test) {
  const std::vector<std::string> names = {"Softmax", "Mlp", "Conv", "Resnet20", "Gpt"};
  return names[static_cast<size_t>(test.param)];
}
INSTANTIATE_TEST_SUITE_P(All, ModelsTest,
                         ::testing::Values(Kind::kSoftmax, Kind::kMlp, Kind::kConv, Kind::kResnet20,
                                           Kind::kGpt),
                         name_of);

TEST(ModelTest, ConvHasThePublishedNumberOfParameters) {
  const auto model = make_model(spec_of(Kind::kConv), kImages, 0).value();
  EXPECT_EQ(FlatModel::create(*model).value()->layout().elements(), 421'642);
}

TEST(ModelTest, MuonTakesHiddenMatricesOnly) {
  const auto hidden = [](Kind kind, const DataShape& shape) {
    std::vector<std::string> names;
    for (const Parameter& parameter : make_model(spec_of(kind), shape, 0).value()->parameters()) {
      if (parameter.role == ParameterRole::kHidden) {
        names.push_back(parameter.name);
      }
    }
    return names;
  };
  EXPECT_EQ(hidden(Kind::kSoftmax, kImages), std::vector<std::string>{});
  EXPECT_EQ(hidden(Kind::kMlp, kImages),
            (std::vector<std::string>{"dense1.weight", "dense2.weight"}));
  EXPECT_EQ(hidden(Kind::kConv, kImages),
            (std::vector<std::string>{"conv1.weight", "conv2.weight", "dense1.weight"}));
  EXPECT_EQ(hidden(Kind::kResnet20, kImages).size(), 19U);
  EXPECT_EQ(hidden(Kind::kGpt, kText).size(), 8U);
}

TEST(ModelTest, GptDoesNotLookAhead) {
  const auto model = make_model(spec_of(Kind::kGpt), kText, 3).value();
  const torch::Tensor text = torch::randint(256, {1, 16}, torch::kInt64);
  torch::Tensor other = text.clone();
  other[0][10] = (text[0][10].item<int64_t>() + 1) % 256;
  const torch::Tensor a = model->forward(text);
  const torch::Tensor b = model->forward(other);
  EXPECT_TRUE(a.slice(1, 0, 10).equal(b.slice(1, 0, 10)));
  EXPECT_FALSE(a.slice(1, 10).equal(b.slice(1, 10)));
}

TEST(ModelTest, RefusesDataOfAnotherShape) {
  EXPECT_THAT(make_model(spec_of(Kind::kConv), kColumns, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("need images")));
  EXPECT_THAT(make_model(spec_of(Kind::kGpt), kImages, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gpt needs text")));
  EXPECT_THAT(make_model(spec_of(Kind::kMlp), kText, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("text")));
  v1::Model model;
  model.mutable_softmax()->set_features(31);
  EXPECT_THAT(make_model(model, kColumns, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("features is 31 but the data has 30")));
  model.mutable_softmax()->clear_features();
  model.mutable_softmax()->set_classes(9);
  EXPECT_THAT(make_model(model, kImages, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("labels of the data")));
}

TEST(LossTest, LabelsBeyondTheOutputsAreRefused) {
  EXPECT_THAT(compute_loss(v1::CROSS_ENTROPY, torch::zeros({1, 3}),
                           torch::full({1}, 3, torch::kInt64), false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label is 3")));
}

TEST(LossTest, LogisticCountsSigns) {
  const LossResult result =
      compute_loss(v1::LOGISTIC, torch::tensor({2.0F, -1.0F, 3.0F}).view({3, 1}),
                   torch::tensor({1.0F, 1.0F, 0.0F}), true)
          .value();
  EXPECT_EQ(result.correct, 1);
  EXPECT_EQ(result.predictions, 3);
}

TEST(LossTest, OutputsOfAnotherShapeAreRefused) {
  EXPECT_THAT(compute_loss(v1::MSE, torch::zeros({2, 3}), torch::zeros({2}), false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[2, 3]")));
  EXPECT_THAT(
      compute_loss(v1::CROSS_ENTROPY, torch::zeros({2}), torch::zeros({2}, torch::kInt64), false),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[batch, classes]")));
}

// y = x w + b, with a buffer.
torch::jit::Module linear_script() {
  torch::jit::Module module("Linear");
  module.register_parameter("weight", torch::ones({3, 1}, torch::requires_grad()),
                            /*is_buffer=*/false);
  module.register_parameter("bias", torch::zeros({1}, torch::requires_grad()), /*is_buffer=*/false);
  module.register_buffer("seen", torch::zeros({1}));
  module.define("def forward(self, x):\n  return torch.matmul(x, self.weight) + self.bias\n");
  return module;
}

v1::Model script_spec(const std::string& path) {
  v1::Model model;
  model.mutable_torchscript()->set_file(path);
  model.mutable_torchscript()->set_loss(v1::MSE);
  return model;
}

TEST(TorchScriptTest, TrainsInPlaceAndIsSavedAsItCame) {
  const TemporaryDirectory directory;
  linear_script().save(directory.file("in.pt"));
  const auto model = make_model(script_spec(directory.file("in.pt")), kColumns, 0).value();
  ASSERT_EQ(model->buffers().size(), 1U);
  EXPECT_EQ(model->buffers()[0].name, "seen");
  const auto flat = FlatModel::create(*model).value();
  EXPECT_EQ(flat->layout().elements(), 4);
  const torch::Tensor loss =
      compute_loss(v1::MSE, model->forward(torch::ones({2, 3})), torch::zeros({2}), false)
          .value()
          .loss;
  loss.backward();
  // d/dw mean((3 + 0)^2) = 2 * 3 * 1.
  EXPECT_TRUE(flat->gradients().allclose(torch::full({4}, 6.0F)));
  flat->parameters().fill_(2);
  EXPECT_FLOAT_EQ(model->forward(torch::ones({1, 3})).item<float>(), 8);
  ASSERT_OK(model->save(directory.file("out.pt")));
  torch::jit::Module read = torch::jit::load(directory.file("out.pt"));
  EXPECT_FLOAT_EQ(read.forward({torch::ones({1, 3})}).toTensor().item<float>(), 8);
}

TEST(TorchScriptTest, AFullDiskIsAnErrorAndNoCrash) {
  const TemporaryDirectory directory;
  linear_script().save(directory.file("in.pt"));
  const auto model = make_model(script_spec(directory.file("in.pt")), kColumns, 0).value();
  EXPECT_THAT(model->save("/dev/full"), StatusIs(absl::StatusCode::kInternal,
                                                 HasSubstr("/dev/full: No space left on device")));
}

TEST(TorchScriptTest, RefusesAFileThatIsNone) {
  const TemporaryDirectory directory;
  EXPECT_THAT(make_model(script_spec(directory.write("m", "no zip file")), kColumns, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a TorchScript module")));
  EXPECT_THAT(make_model(script_spec(directory.file("no")), kColumns, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a file")));
  EXPECT_THAT(make_model(script_spec(directory.path()), kColumns, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a file")));
}

TEST(FlatModelTest, ViewsAliasTheModel) {
  const auto model = make_model(spec_of(Kind::kConv), kImages, 0).value();
  const auto flat = FlatModel::create(*model).value();
  const sync::ModelView view = flat->view();
  ASSERT_EQ(view.parameters.size(), 421'642U);
  view.parameters[0] = 42;
  view.gradients[320] = 43;
  EXPECT_FLOAT_EQ(model->parameters()[0].value[0][0][0][0].item<float>(), 42);
  EXPECT_FLOAT_EQ(model->parameters()[2].value.grad()[0][0][0][0].item<float>(), 43);
  flat->zero_gradients();
  EXPECT_FLOAT_EQ(view.gradients[320], 0);
}

TEST(FlatModelTest, BackwardAddsInPlace) {
  const auto model = make_model(spec_of(Kind::kSoftmax), kImages, 0).value();
  const auto flat = FlatModel::create(*model).value();
  const float* place = flat->view().gradients.data();
  for (int i = 0; i < 2; ++i) {
    model->forward(torch::ones({1, 1, 28, 28})).sum().backward();
  }
  EXPECT_EQ(flat->view().gradients.data(), place);
  EXPECT_FLOAT_EQ(place[0], 2);
}

TEST(FlatModelTest, ClippingScalesOnlyLongGradients) {
  const auto model = make_model(spec_of(Kind::kSoftmax), kImages, 0).value();
  const auto flat = FlatModel::create(*model).value();
  flat->gradients()[0] = 3;
  flat->gradients()[1] = 4;
  flat->clip_gradients(10);
  EXPECT_FLOAT_EQ(flat->view().gradients[0], 3);
  flat->clip_gradients(1);
  EXPECT_NEAR(flat->view().gradients[0], 0.6, 1e-6);
  EXPECT_NEAR(flat->view().gradients[1], 0.8, 1e-6);
}

TEST(FlatModelTest, RefusesOtherNumberTypesAndNothingToTrain) {
  const TemporaryDirectory directory;
  torch::jit::Module doubles("M");
  doubles.register_parameter("w", torch::ones({2}, torch::kFloat64).requires_grad_(), false);
  doubles.define("def forward(self, x):\n  return x * self.w\n");
  doubles.save(directory.file("d.pt"));
  const auto model = make_model(script_spec(directory.file("d.pt")), kColumns, 0).value();
  EXPECT_THAT(FlatModel::create(*model),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only float32")));
  torch::jit::Module none("N");
  none.define("def forward(self, x):\n  return x\n");
  none.save(directory.file("n.pt"));
  const auto empty = make_model(script_spec(directory.file("n.pt")), kColumns, 0).value();
  EXPECT_THAT(FlatModel::create(*empty),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nothing to train")));
}

}  // namespace
}  // namespace laconic::trainer
