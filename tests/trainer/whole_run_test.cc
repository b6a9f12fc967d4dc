// Kinds of models, data and shares from their files to the result.
#include <gtest/gtest.h>
#include <torch/script.h>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

using WholeRunTest = RankProcessesTest;

TEST_F(WholeRunTest, AResNetIsTrainedByMuon) {
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_model()->mutable_resnet20();
  spec.mutable_train()->set_steps(4);
  spec.mutable_train()->mutable_optimizer()->mutable_muon()->set_learning_rate(0.02);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  const Reports first = worker_->reports(token_of(0));
  EXPECT_EQ(first.finished->digest(), worker_->reports(token_of(1)).finished->digest());
  EXPECT_TRUE(first.finished->has_eval_accuracy());
}

TEST_F(WholeRunTest, LanesCarryTheSameBits) {
  std::vector<uint64_t> digests;
  for (const int lanes : {1, 3}) {
    job_.mutable_spec()->mutable_exchange()->set_lanes(lanes);
    start_worker(2);
    start_trainer(0);
    start_trainer(1);
    EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
    digests.push_back(worker_->reports(token_of(0)).finished.value_or(v1::Finished()).digest());
    worker_.reset();
  }
  EXPECT_NE(digests[0], 0U);
  EXPECT_EQ(digests[0], digests[1]);
}

TEST_F(WholeRunTest, LocalSharesOfUnlikeSizeAreTrainedWhereTheyAre) {
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_model()->mutable_softmax()->set_classes(2);
  spec.mutable_data()->mutable_local();
  v1::LibSvm& libsvm = *spec.mutable_data()->mutable_libsvm();
  libsvm.set_features(2);
  std::string rows;
  for (int i = 0; i < 20; ++i) {
    absl::StrAppend(&rows, "+1 1:1\n-1 2:1\n");
  }
  libsvm.set_train_file(directory_.write("node0", rows));
  start_worker(2);
  start_trainer(0);
  // On the other node lies one class only, in fewer samples than a batch takes.
  libsvm.set_train_file(directory_.write("node1", "+1 1:1\n+1 1:2\n+1 1:3\n"));
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  const Reports first = worker_->reports(token_of(0));
  const Reports second = worker_->reports(token_of(1));
  EXPECT_EQ(first.hello->samples(), 36);  // The last tenth is held out.
  EXPECT_EQ(second.hello->samples(), 2);
  EXPECT_EQ(first.finished->digest(), second.finished->digest());
  EXPECT_EQ(first.finished->eval_accuracy(), 1);
}

TEST_F(WholeRunTest, ATorchScriptModelIsTrainedAndLoadsAgain) {
  torch::jit::Module module("Linear");
  module.register_parameter("weight", torch::zeros({64, 4}, torch::requires_grad()), false);
  module.define("def forward(self, x):\n  return torch.matmul(x.flatten(1), self.weight)\n");
  module.save(directory_.file("model.pt"));
  v1::TorchScript& script = *job_.mutable_spec()->mutable_model()->mutable_torchscript();
  script.set_file(directory_.file("model.pt"));
  script.set_loss(v1::CROSS_ENTROPY);
  job_.mutable_spec()->mutable_exchange()->mutable_dense();
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  const Reports first = worker_->reports(token_of(0));
  EXPECT_GT(first.finished->eval_accuracy(), 0.9);
  ASSERT_EQ(first.finished->files_size(), 2);
  torch::jit::Module read = torch::jit::load(first.finished->files(1));
  EXPECT_GT(read.attr("weight").toTensor().abs().max().item<float>(), 0.01);
  EXPECT_EQ(read.forward({torch::ones({3, 1, 8, 8})}).toTensor().size(1), 4);
}

// It stood in the report as if it were a result.
TEST_F(WholeRunTest, ALossOnHeldOutDataThatIsNoNumberIsDivergence) {
  torch::jit::Module module("Linear");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.register_parameter("weight", torch::zeros({64, 4}, torch::requires_grad()), false);
  module.define(
      "def forward(self, x):\n"
      "  y = torch.matmul(x.flatten(1), self.weight)\n"
      "  return y if self.training else y * float('nan')\n");
  module.save(directory_.file("model.pt"));
  v1::TorchScript& script = *job_.mutable_spec()->mutable_model()->mutable_torchscript();
  script.set_file(directory_.file("model.pt"));
  script.set_loss(v1::CROSS_ENTROPY);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "DIVERGED");
  EXPECT_THAT(failure.message(), ::testing::HasSubstr("held-out data at step"));
}

// A long evaluation on rank 0 ended the job: the others took it for a lost rank.
TEST_F(WholeRunTest, OthersWaitForAnEvaluationLongerThanTheRoundDeadline) {
  const QuadrantImages eval = quadrant_images(160'000, 3);
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_data()->mutable_idx()->set_eval_images(directory_.write("e", eval.images));
  spec.mutable_data()->mutable_idx()->set_eval_labels(directory_.write("l", eval.labels));
  v1::Mlp& mlp = *spec.mutable_model()->mutable_mlp();
  mlp.add_hidden(1024);
  mlp.add_hidden(1024);
  spec.mutable_train()->set_steps(2);
  spec.mutable_train()->set_eval_every_steps(1);
  spec.mutable_train()->set_eval_samples(160'000);
  spec.mutable_exchange()->mutable_local()->set_inner_steps(1);
  spec.mutable_exchange()->mutable_round_deadline()->set_seconds(1);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0), 0);
  EXPECT_EQ(wait_for_exit(1), 0);
}

}  // namespace
}  // namespace laconic::trainer
