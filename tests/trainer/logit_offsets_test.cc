#include "worker/trainer/logit_offsets.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

using ::testing::HasSubstr;

torch::Tensor counts(std::vector<float> values) {
  return torch::tensor(values);
}

TEST(LogitOffsetsTest, AreTheLogarithmsOfTheProportionsQuotient) {
  // p_i = 10/12, 2/12 and p = 6/12, 6/12.
  const torch::Tensor offsets = logit_offsets(counts({9, 1}), counts({5, 5}), 1);
  EXPECT_FLOAT_EQ(offsets[0].item<float>(), static_cast<float>(std::log(10.0 / 6)));
  EXPECT_FLOAT_EQ(offsets[1].item<float>(), static_cast<float>(std::log(2.0 / 6)));
  const torch::Tensor half = logit_offsets(counts({9, 1}), counts({5, 5}), 0.5);
  EXPECT_FLOAT_EQ(half[1].item<float>(), static_cast<float>(0.5 * std::log(2.0 / 6)));
}

TEST(LogitOffsetsTest, AreExactlyZeroWhereAShareHasTheMixOfAll) {
  const torch::Tensor own = counts({12, 7, 0});
  EXPECT_TRUE(logit_offsets(own, own.clone(), 1).eq(0).all().item<bool>());
}

TEST(LogitOffsetsTest, AreFiniteForAClassThatAShareOrAllSharesLack) {
  const torch::Tensor offsets = logit_offsets(counts({0, 1000, 0}), counts({500, 500, 0}), 4);
  EXPECT_TRUE(torch::isfinite(offsets).all().item<bool>());
  EXPECT_LT(offsets[0].item<float>(), offsets[2].item<float>());
}

// `outputs` logits for any image.
class ConstantLogits : public Model {
 public:
  explicit ConstantLogits(int64_t outputs) : outputs_(outputs) {}
  torch::Tensor forward(const torch::Tensor& inputs) override {
    was_training_ = training_;
    return torch::zeros({inputs.size(0), outputs_});
  }
  void move_to(const torch::Device& /*device*/) override {}
  void set_training(bool training) override { training_ = training; }
  std::vector<Parameter> parameters() override { return {}; }
  bool training_ = true;
  bool was_training_ = true;

 private:
  const int64_t outputs_;
};

class ClassCountTest : public RankProcessesTest {};

TEST_F(ClassCountTest, IsOfTheWholeShareAndLeavesTheModelInTraining) {
  ConstantLogits model(6);
  torch::Tensor sum = torch::zeros({6});
  for (int rank = 0; rank < 3; ++rank) {
    const auto data = load_dataset(job_, {.rank = rank, .world_size = 3});
    ASSERT_OK(data.status());
    const absl::StatusOr<torch::Tensor> share = count_classes(model, **data);
    ASSERT_OK(share.status());
    EXPECT_EQ(share->sum().item<int64_t>(), (*data)->samples());
    sum += *share;
  }
  EXPECT_FALSE(model.was_training_) << "the forward pass must not touch statistics";
  EXPECT_TRUE(model.training_);
  EXPECT_EQ(sum.sum().item<int64_t>(), 400);
  EXPECT_GT(sum.slice(0, 0, 4).min().item<float>(), 50);
  EXPECT_EQ(sum.slice(0, 4, 6).sum().item<float>(), 0);
}

TEST_F(ClassCountTest, RefusesALabelThatIsNoOutputOfTheModel) {
  ConstantLogits model(3);
  const auto data = load_dataset(job_, {.rank = 0, .world_size = 1});
  ASSERT_OK(data.status());
  EXPECT_THAT(std::string(count_classes(model, **data).status().message()),
              HasSubstr("a label is 3 but the model has only 3 outputs"));
}

class LogitAdjustmentTest : public RankProcessesTest {
 protected:
  v1::Finished run(int ranks, double strength) {
    job_.mutable_spec()->mutable_train()->set_logit_adjustment(strength);
    worker_.reset();  // frees the socket of the run before
    start_worker(ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      start_trainer(rank);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(wait_for_exit(rank), core::kTrainerDone);
    }
    const v1::Finished first = worker_->reports(token_of(0)).finished.value_or(v1::Finished());
    for (int rank = 1; rank < ranks; ++rank) {
      EXPECT_EQ(worker_->reports(token_of(rank)).finished.value_or(v1::Finished()).digest(),
                first.digest());
    }
    return first;
  }
};

// Images that say nothing: all that can be learnt is how often each class occurs.
std::string black_images(const std::string& labels) {
  return idx_images(static_cast<uint32_t>(labels.size()), 1, 1, std::string(labels.size(), '\0'));
}

std::string idx_labels_of(const std::string& labels) {
  return idx_labels(static_cast<uint32_t>(labels.size()), labels);
}

// Class 1 is 1 % of one share and half of the other, so 25.5 % of all. Averaged logits of ranks
// that each learnt their own share give it 9 %, which costs 0.11 nats (0.68 instead of 0.57).
TEST_F(LogitAdjustmentTest, LetsUnlikeSharesLearnTheMixOfAll) {
  const std::string labels = std::string(198, '\0') + std::string(2, '\1') +
                             std::string(100, '\0') + std::string(100, '\1');
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  v1::Idx& idx = *spec.mutable_data()->mutable_idx();
  idx.set_train_images(directory_.write("black-images", black_images(labels)));
  idx.set_train_labels(directory_.write("labels", idx_labels_of(labels)));
  idx.set_eval_images(idx.train_images());
  idx.set_eval_labels(idx.train_labels());
  spec.mutable_data()->mutable_shared()->mutable_contiguous();
  spec.mutable_train()->set_steps(400);
  spec.mutable_exchange()->mutable_local()->set_inner_steps(100);
  spec.mutable_exchange()->mutable_compressor()->mutable_none();
  const double without = run(2, 0).eval_loss();
  const double with = run(2, 1).eval_loss();
  EXPECT_GT(without, 0.62);
  EXPECT_LT(with, 0.59);
}

TEST_F(LogitAdjustmentTest, ChangesNothingForARankThatHasAllData) {
  const v1::Finished without = run(1, 0);
  EXPECT_GT(without.steps(), 0);
  EXPECT_EQ(run(1, 1).digest(), without.digest());
}

}  // namespace
}  // namespace laconic::trainer
