#include "worker/trainer/linear_objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/core/random.h"
#include "tests/testing/status_matchers.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kFeatures = 5;

// Rows of random numbers; labels 0..classes-1, or numbers.
class RandomRows final : public Dataset {
 public:
  RandomRows(int64_t samples, int64_t classes) : inputs_(torch::empty({samples, kFeatures})) {
    core::Random random(7);
    for (int64_t i = 0; i < inputs_.numel(); ++i) {
      inputs_.data_ptr<float>()[i] = static_cast<float>(2 * random.uniform() - 1);
    }
    labels_ = classes > 0 ? torch::empty({samples}, torch::kInt64) : torch::empty({samples});
    for (int64_t i = 0; i < samples; ++i) {
      if (classes > 0) {
        labels_.data_ptr<int64_t>()[i] =
            static_cast<int64_t>(random.below(static_cast<uint64_t>(classes)));
      } else {
        labels_.data_ptr<float>()[i] = static_cast<float>(random.uniform());
      }
    }
  }

  DataShape shape() const override { return {.features = kFeatures}; }
  int64_t samples() const override { return inputs_.size(0); }
  Batch share_samples(std::span<const int64_t> chosen) const override {
    const torch::Tensor places =
        torch::tensor(torch::ArrayRef<int64_t>(chosen.data(), chosen.size()));
    return {.inputs = inputs_.index_select(0, places), .labels = labels_.index_select(0, places)};
  }
  Batch next_batch() override { return share_batch(0, samples()); }
  void skip_batches(int64_t /*batches*/) override {}
  int64_t eval_samples() const override { return 0; }
  Batch eval_batch(std::span<const int64_t> /*samples*/) const override { return {}; }
  int64_t eval_batch_size() const override { return 1; }
  std::map<std::string, std::string> preparation() const override { return {}; }

 private:
  torch::Tensor inputs_;
  torch::Tensor labels_;
};

std::vector<double> random_point(int64_t dimension) {
  core::Random random(3);
  std::vector<double> x(static_cast<size_t>(dimension));
  for (double& value : x) {
    value = random.uniform() - 0.5;
  }
  return x;
}

struct Case {
  v1::Loss loss;
  int64_t outputs;
  int64_t classes;  // of the labels; 0: numbers
  int64_t dimension() const { return outputs * (kFeatures + 1); }
};
const std::vector<Case> kCases = {
    {v1::CROSS_ENTROPY, 3, 3}, {v1::CROSS_ENTROPY, 2, 2}, {v1::LOGISTIC, 1, 2}, {v1::MSE, 1, 0}};

std::unique_ptr<LinearObjective> objective(const Case& one, double l2, const Dataset& data,
                                           const StopSignal& stop) {
  auto made = LinearObjective::make(one.loss, l2, one.dimension(), data, stop);
  EXPECT_OK(made.status());
  return *std::move(made);
}

TEST(LinearObjectiveTest, GradientIsTheSlopeOfTheLoss) {
  const StopSignal stop;
  for (const Case& one : kCases) {
    for (const int64_t samples : {1, 2, 101}) {
      const RandomRows data(samples, one.classes);
      const auto f = objective(one, 0.3, data, stop);
      std::vector<double> x = random_point(one.dimension());
      std::vector<double> gradient(x.size());
      std::vector<double> scratch(x.size());
      ASSERT_OK(f->gradient(x, gradient));
      for (size_t i = 0; i < x.size(); ++i) {
        constexpr double kStep = 1e-5;
        const double value = x[i];
        x[i] = value + kStep;
        ASSERT_OK(f->gradient(x, scratch));
        const double above = f->loss();
        x[i] = value - kStep;
        ASSERT_OK(f->gradient(x, scratch));
        x[i] = value;
        // Central differences err by step^2 and by rounding over step.
        EXPECT_NEAR(gradient[i], (above - f->loss()) / (2 * kStep), 1e-8);
      }
    }
  }
}

TEST(LinearObjectiveTest, LossIsThatOfTheModelInFloat32) {
  const StopSignal stop;
  for (const Case& one : kCases) {
    const RandomRows data(101, one.classes);
    const auto f = objective(one, 0, data, stop);
    const std::vector<double> x = random_point(one.dimension());
    std::vector<double> gradient(x.size());
    ASSERT_OK(f->gradient(x, gradient));
    const torch::Tensor all =
        torch::tensor(std::vector<float>(x.begin(), x.end()), torch::kFloat32);
    const Batch batch = data.share_batch(0, data.samples());
    const torch::Tensor outputs =
        torch::addmm(all.narrow(0, one.outputs * kFeatures, one.outputs), batch.inputs,
                     all.narrow(0, 0, one.outputs * kFeatures).view({one.outputs, -1}).t());
    const auto loss = compute_loss(one.loss, outputs, batch.labels, /*count_correct=*/false);
    ASSERT_OK(loss.status());
    EXPECT_NEAR(f->loss(), loss->loss.item<double>(), 1e-6);
  }
}

// A share of several chunks is one sum.
TEST(LinearObjectiveTest, RegularizationIsAddedOnceAndForTheBiasToo) {
  const StopSignal stop;
  const Case one = {v1::LOGISTIC, 1, 2};
  const RandomRows data(100'003, 2);
  const std::vector<double> x = random_point(one.dimension());
  std::vector<double> plain(x.size());
  std::vector<double> heavy(x.size());
  ASSERT_OK(objective(one, 0, data, stop)->gradient(x, plain));
  ASSERT_OK(objective(one, 2, data, stop)->gradient(x, heavy));
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(heavy[i] - plain[i], 2 * x[i], 1e-12);
  }
}

TEST(LinearObjectiveTest, HugeOutputsGiveAFiniteLoss) {
  const StopSignal stop;
  for (const Case& one : kCases) {
    const RandomRows data(11, one.classes);
    const auto f = objective(one, 0, data, stop);
    std::vector<double> gradient(static_cast<size_t>(one.dimension()));
    ASSERT_OK(f->gradient(std::vector<double>(gradient.size(), 1e6), gradient));
    EXPECT_TRUE(std::isfinite(f->loss()));
  }
}

TEST(LinearObjectiveTest, RefusesAModelThatIsNotLinearInTheFeatures) {
  const StopSignal stop;
  const RandomRows data(4, 2);
  EXPECT_THAT(LinearObjective::make(v1::CROSS_ENTROPY, 1, 13, data, stop).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("13 parameters")));
  EXPECT_THAT(LinearObjective::make(v1::MSE, 1, 12, data, stop).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not linear")));
}

TEST(LinearObjectiveTest, RefusesALabelWithoutAnOutput) {
  const StopSignal stop;
  const RandomRows data(50, 4);
  EXPECT_THAT(LinearObjective::make(v1::CROSS_ENTROPY, 1, 18, data, stop).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a label is 3")));
}

}  // namespace
}  // namespace laconic::trainer
