#include "worker/trainer/run_rank.h"

#include <gtest/gtest.h>
#include <torch/script.h>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/rank_processes.h"
#include "worker/trainer/compute_device.h"

namespace laconic::trainer {
namespace {

using ::testing::HasSubstr;
using RunRankTest = RankProcessesTest;

TEST_F(RunRankTest, TwoRanksLearnAndEndWithTheSameModel) {
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
  EXPECT_EQ(wait_for_exit(1), core::kTrainerDone);
  const Reports first = worker_->reports(token_of(0));
  const Reports second = worker_->reports(token_of(1));
  ASSERT_TRUE(first.finished.has_value());
  ASSERT_TRUE(second.finished.has_value());
  EXPECT_EQ(first.hello->layout_hash(), second.hello->layout_hash());
  EXPECT_EQ(first.hello->parameters(), 64 * 4 + 4);
  EXPECT_EQ(first.hello->samples() + second.hello->samples(), 400);
  EXPECT_EQ(first.finished->digest(), second.finished->digest());
  EXPECT_EQ(first.finished->steps(), 60);
  EXPECT_EQ(first.finished->rounds(), 12);
  EXPECT_GT(first.finished->bytes().sent(), 0);
  EXPECT_EQ(first.finished->bytes().sent(), second.finished->bytes().received());
  EXPECT_GT(first.finished->eval_accuracy(), 0.9);
  EXPECT_FALSE(second.finished->has_eval_loss());
  ASSERT_EQ(first.finished->files_size(), 1);
  EXPECT_EQ(std::filesystem::file_size(first.finished->files(0)) % 4, 0U);
  EXPECT_EQ(second.finished->files_size(), 0);
}

TEST_F(RunRankTest, HistoryHasTheSameStepsOnAllRanksAndEvaluationsFromRankZero) {
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  const std::vector<v1::HistoryPoint> first = worker_->reports(token_of(0)).history;
  const std::vector<v1::HistoryPoint> second = worker_->reports(token_of(1)).history;
  ASSERT_EQ(first.size(), 60U);
  ASSERT_EQ(second.size(), 60U);
  int evaluations = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].step(), second[i].step());
    EXPECT_FALSE(second[i].has_eval_loss());
    if (first[i].has_eval_loss()) {
      ++evaluations;
      EXPECT_EQ(first[i].step() % 5, 0) << "parameters are shared every 5 steps only";
    }
  }
  EXPECT_EQ(evaluations, 10);  // Every 6 steps, at the next round; the last falls on the end.
}

TEST_F(RunRankTest, ADenseRankAloneNeedsNoPeer) {
  job_.mutable_spec()->mutable_exchange()->mutable_dense();
  job_.mutable_spec()->mutable_exchange()->clear_compressor();
  start_worker(1);
  start_trainer(0);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
  EXPECT_EQ(worker_->reports(token_of(0)).finished->bytes().sent(), 0);
}

// A job whose text a small decoder learns in few steps.
void learn_text(v1::TrainJobSpec& spec, const TemporaryDirectory& directory) {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    absl::StrAppend(&text, "the cat sat on the mat. ");
  }
  spec.mutable_data()->mutable_bytes()->set_path(directory.write("text", text));
  v1::Gpt& gpt = *spec.mutable_model()->mutable_gpt();
  gpt.set_layers(1);
  gpt.set_width(32);
  gpt.set_heads(2);
  gpt.set_context(16);
  spec.mutable_train()->mutable_optimizer()->mutable_muon()->set_learning_rate(0.02);
}

TEST_F(RunRankTest, TextIsLearntByAGpt) {
  learn_text(*job_.mutable_spec(), directory_);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  // A guess over 256 bytes has 5.5 nats.
  EXPECT_LT(worker_->reports(token_of(0)).finished->eval_loss(), 2.5);
}

TEST_F(RunRankTest, TextIsLearntWithProductsInBfloat16) {
  learn_text(*job_.mutable_spec(), directory_);
  job_.mutable_spec()->mutable_train()->set_precision(v1::Train::BFLOAT16);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
  EXPECT_LT(worker_->reports(token_of(0)).finished->eval_loss(), 2.5);
  EXPECT_EQ(worker_->reports(token_of(0)).finished->digest(),
            worker_->reports(token_of(1)).finished->digest());
}

TEST_F(RunRankTest, BadDataFailsWithFileAndPlace) {
  directory_.write("train-images", quadrant_images(400, 1).images.substr(0, 1000));
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_DATA");
  EXPECT_THAT(failure.message(), HasSubstr("train-images: truncated at byte 1000"));
}

TEST_F(RunRankTest, NanInDataFailsWithItsLine) {
  v1::LibSvm& libsvm = *job_.mutable_spec()->mutable_data()->mutable_libsvm();
  libsvm.set_train_file(directory_.write("rows", "+1 1:1\n-1 1:nan\n"));
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_DATA");
  EXPECT_THAT(failure.message(), HasSubstr("rows:2:"));
}

TEST_F(RunRankTest, CudaWithoutAGpuFailsAndSaysWhatElseToTake) {
  if (visible_gpus() > 0) {
    GTEST_SKIP() << "there is a GPU";
  }
  job_.mutable_spec()->mutable_workers()->set_device(v1::Workers::CUDA);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "NO_DEVICE");
  EXPECT_THAT(failure.message(), HasSubstr("take AUTO or CPU"));
}

TEST_F(RunRankTest, ReportSaysWhereTheModelWas) {
  job_.mutable_spec()->mutable_workers()->set_device(v1::Workers::CPU);
  start_worker(1);
  start_trainer(0);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
  const v1::Finished finished = worker_->reports(token_of(0)).finished.value_or(v1::Finished());
  EXPECT_EQ(finished.exchange().device(), "cpu");
  EXPECT_FALSE(finished.exchange().host_copies());
}

TEST_F(RunRankTest, AFileThatIsNoTorchScriptFails) {
  v1::TorchScript& script = *job_.mutable_spec()->mutable_model()->mutable_torchscript();
  script.set_file(directory_.write("model.pt", "not a model"));
  script.set_loss(v1::CROSS_ENTROPY);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_MODEL");
  EXPECT_EQ(failure.message().find('\n'), std::string::npos);
}

TEST_F(RunRankTest, AModelThatDoesNotFitTheDataFailsInOneLine) {
  torch::jit::Module module("M");
  module.register_parameter("w", torch::ones({7, 4}, torch::requires_grad()), false);
  module.define("def forward(self, x):\n  return torch.matmul(x.flatten(1), self.w)\n");
  module.save(directory_.file("model.pt"));
  v1::TorchScript& script = *job_.mutable_spec()->mutable_model()->mutable_torchscript();
  script.set_file(directory_.file("model.pt"));
  script.set_loss(v1::CROSS_ENTROPY);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_MODEL");
  EXPECT_THAT(failure.message(), HasSubstr("mat1 and mat2 shapes"));
  EXPECT_EQ(failure.message().find('\n'), std::string::npos);
}

TEST_F(RunRankTest, AnInfiniteLossIsDivergence) {
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_model()->mutable_mlp()->add_hidden(16);
  v1::Sgd& sgd = *spec.mutable_train()->mutable_optimizer()->mutable_sgd();
  sgd.set_learning_rate(100);
  sgd.set_weight_decay(10);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "DIVERGED");
  EXPECT_THAT(failure.message(), HasSubstr("learning_rate"));
}

TEST_F(RunRankTest, AResultDirectoryThatCannotBeMadeFailsBeforeTraining) {
  directory_.write("file", "in the way");
  job_.mutable_spec()->mutable_result()->set_directory(directory_.file("file/below"));
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "RESULT_NOT_WRITTEN");
  EXPECT_FALSE(worker_->reports(token_of(0)).hello.has_value());
}

TEST_F(RunRankTest, ALostPeerIsNamed) {
  job_.mutable_spec()->mutable_train()->set_steps(100'000'000);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/true));
  kill(running_.at(1), SIGKILL);
  EXPECT_EQ(wait_for_exit(1), -SIGKILL);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerPeerLost);
  const Reports reports = worker_->reports(token_of(0));
  ASSERT_TRUE(reports.failure.has_value());
  EXPECT_EQ(reports.failure->reason(), "PEER_LOST");
  EXPECT_EQ(reports.failure->peer_rank(), 1);
}

TEST_F(RunRankTest, StopEndsARunningTrainerWithoutAFailureOfItsOwn) {
  job_.mutable_spec()->mutable_train()->set_steps(100'000'000);
  start_worker(1);
  start_trainer(0);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/true));
  const absl::Time start = absl::Now();
  worker_->stop(token_of(0));
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_FALSE(worker_->reports(token_of(0)).failure.has_value());
}

TEST_F(RunRankTest, SigtermEndsATrainerThatWaitsForItsLaunch) {
  start_worker(1);
  worker_->never_launch();
  start_trainer(0);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/false));
  kill(running_.at(0), SIGTERM);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
}

TEST_F(RunRankTest, ATrainerWithoutItsWorkerEnds) {
  job_.mutable_spec()->mutable_train()->set_steps(100'000'000);
  start_worker(1);
  start_trainer(0);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/true));
  worker_->shut_down();
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
}

}  // namespace
}  // namespace laconic::trainer
