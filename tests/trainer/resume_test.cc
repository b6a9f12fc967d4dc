// Runs that go on from their checkpoints, as real processes.
#include <gtest/gtest.h>
#include <torch/script.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ResumeTest : public RankProcessesTest {
 protected:
  v1::Train& train() { return *job_.mutable_spec()->mutable_train(); }

  // Exactly what the text says, of spec.exchange.
  void exchange(const std::string& text) {
    v1::Exchange& exchange = *job_.mutable_spec()->mutable_exchange();
    exchange.Clear();
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &exchange)) << text;
    exchange.mutable_round_deadline()->set_seconds(30);
  }

  void save_every(int64_t steps) {
    train().mutable_checkpoint()->set_directory(directory_.file("checkpoints"));
    train().mutable_checkpoint()->set_every_steps(steps);
  }
  std::string saved(int rank, int64_t step) const {
    return directory_.file(absl::StrCat("checkpoints/rank-", rank, "-step-", step, ".ckpt"));
  }

  void start_both() {
    worker_.reset();  // its socket is taken over
    start_worker(2);
    start_trainer(0);
    start_trainer(1);
  }
  // Trains to the end; the last report of rank 0.
  v1::Finished run() {
    start_both();
    EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
    EXPECT_EQ(wait_for_exit(1), core::kTrainerDone);
    const v1::Finished first = worker_->reports(token_of(0)).finished.value_or(v1::Finished());
    const v1::Finished second = worker_->reports(token_of(1)).finished.value_or(v1::Finished());
    EXPECT_NE(first.digest(), 0U);
    EXPECT_EQ(first.digest(), second.digest());
    return first;
  }
  std::string model() const { return content(directory_.file("rank0/model.safetensors")); }

  // What rank 0 said of `reason`; empty if nothing.
  std::string told(const std::string& reason) {
    for (const v1::TrainerEvent& event : worker_->reports(token_of(0)).events) {
      if (event.reason() == reason) {
        return event.message();
      }
    }
    return "";
  }
  std::string resumed() { return told("RESUMED"); }
};

struct Method {
  const char* name;
  const char* exchange;
};

void PrintTo(const Method& method, std::ostream* out) {
  *out << method.name;
}

class ResumeMethodTest : public ResumeTest, public ::testing::WithParamInterface<Method> {};

// Step 56 lies between two rounds of the methods with local steps.
TEST_P(ResumeMethodTest, GoesOnBitForBit) {
  exchange(GetParam().exchange);
  job_.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(16);
  train().mutable_optimizer()->mutable_muon()->set_learning_rate(0.02);
  train().mutable_schedule()->set_final_ratio(0.1);
  const v1::Finished whole = run();
  const std::string model_of_whole = model();
  save_every(7);
  const v1::Finished saving = run();
  EXPECT_EQ(resumed(), "");
  EXPECT_EQ(saving.digest(), whole.digest());
  ASSERT_TRUE(fs::exists(saved(0, 56)) && fs::exists(saved(1, 56)));
  EXPECT_FALSE(fs::exists(saved(0, 49)) || fs::exists(saved(1, 49)));
  const v1::Finished again = run();
  EXPECT_THAT(resumed(), HasSubstr("after step 56"));
  EXPECT_EQ(again.digest(), whole.digest());
  EXPECT_EQ(model(), model_of_whole);
  EXPECT_EQ(again.steps(), 60);
  EXPECT_EQ(again.rounds(), whole.rounds());
  EXPECT_EQ(again.eval_loss(), whole.eval_loss());
  EXPECT_GE(again.bytes().payload_sent(), whole.bytes().payload_sent());
}

INSTANTIATE_TEST_SUITE_P(
    Methods, ResumeMethodTest,
    ::testing::Values(
        Method{"Dense", "dense {}"},
        Method{"DenseTopK", "dense {} compressor { top_k { density: 0.1 } }"},
        Method{"SharedByOverlap",
               "local { inner_steps: 2 } compressor { shared_index { density: 0.1 value_bits: 8 "
               "by_overlap: true } }"},
        Method{"Local", "local { inner_steps: 5 } compressor { quantize { bits: 1 rows {} } }"},
        Method{"Rounds",
               "local { rounds: 9 round_growth: 2 } schedule: SHARDED compressor { quantize { "
               "bits: 2 rows {} } residual_bits: 16 }"},
        Method{"Streaming",
               "local { inner_steps: 20 fragments: 4 delay_steps: 5 } compressor { quantize { "
               "bits: 4 rows {} } }"},
        Method{"FollowsSimilarity",
               "local { inner_steps: 3 inner_steps_max: 20 } compressor { quantize { bits: 1 "
               "rows {} } } similarity { every_steps: 5 }"},
        Method{"Shift", "local { inner_steps: 5 shift: 0.5 } similarity { every_steps: 9 }"},
        Method{"Lazy",
               "lazy { momentum: 0.9 } compressor { quantize { bits: 4 rows {} } "
               "feedback: EF21 }"},
        Method{"Ef21", "ef21 {} compressor { top_k { density: 0.1 } }"},
        Method{"PowerSgd", "power_sgd { rank: 2 dense_steps: 3 }"},
        Method{"Demo", "demo { chunk: 8 kept: 4 }"}),
    [](const auto& test) { return std::string(test.param.name); });

// What is measured differs from start to start, so a choice made anew might be another one.
TEST_F(ResumeTest, WhatAutoChoseIsNotChosenAgain) {
  for (const char* const text :
       {"auto { wait: 0.3 }",
        "local { inner_steps: 5 } compressor { auto { error_budget: 0.5 } }"}) {
    exchange(text);
    fs::remove_all(directory_.file("checkpoints"));
    save_every(25);
    const v1::Finished whole = run();
    EXPECT_NE(told("METHOD_CHOSEN") + told("PLAN_CHOSEN"), "") << text;
    EXPECT_NE(whole.exchange().codec(), "");
    const v1::Finished again = run();
    EXPECT_THAT(resumed(), HasSubstr("after step 50"));
    EXPECT_EQ(told("METHOD_CHOSEN") + told("PLAN_CHOSEN"), "") << text;
    EXPECT_EQ(again.digest(), whole.digest());
    EXPECT_EQ(again.exchange().SerializeAsString(), whole.exchange().SerializeAsString());
  }
}

class ResumeConvexTest : public ResumeTest, public ::testing::WithParamInterface<Method> {};

TEST_P(ResumeConvexTest, GoesOnBitForBit) {
  exchange(absl::StrCat("convex { l2: 0.1 ", GetParam().exchange));
  job_.mutable_spec()->mutable_model()->mutable_softmax();
  train().Clear();
  train().set_steps(14);
  train().set_seed(5);
  const v1::Finished whole = run();
  const std::string model_of_whole = model();
  save_every(6);
  EXPECT_EQ(run().digest(), whole.digest());
  EXPECT_EQ(resumed(), "");
  ASSERT_TRUE(fs::exists(saved(0, 12)) && fs::exists(saved(1, 12)));
  const v1::Finished again = run();
  EXPECT_THAT(resumed(), HasSubstr("after step 12"));
  EXPECT_EQ(again.digest(), whole.digest());
  EXPECT_EQ(model(), model_of_whole);
  EXPECT_EQ(again.steps(), 14);
  EXPECT_EQ(again.rounds(), whole.rounds());
  EXPECT_EQ(again.eval_loss(), whole.eval_loss());
  EXPECT_EQ(again.convex().SerializeAsString(), whole.convex().SerializeAsString());
}

INSTANTIATE_TEST_SUITE_P(
    Algorithms, ResumeConvexTest,
    ::testing::Values(
        Method{"Olga",
               "algorithm: OLGA inner_rounds: 3 gather_bits: 4 downlink_bits: 4 } compressor { "
               "quantize { bits: 4 stochastic: true } }"},
        Method{"OlgaGeometric",
               "algorithm: OLGA geometric: true } compressor { rand_k { density: 0.3 } }"},
        Method{"OlgaMostAlike", "algorithm: OLGA anchor: MOST_ALIKE }"},
        Method{"EfOlga", "algorithm: EF_OLGA lazy: 3 } compressor { top_k { density: 0.3 } }"},
        Method{"Aeg", "algorithm: AEG }"}, Method{"Gd", "algorithm: GD }"},
        Method{"Agd", "algorithm: AGD }"},
        Method{"Diana", "algorithm: DIANA } compressor { rand_k { density: 0.3 } }"},
        Method{"Marina", "algorithm: MARINA } compressor { rand_k { density: 0.3 } }"},
        Method{"Ef21", "algorithm: EF21 } compressor { top_k { density: 0.3 } }"},
        Method{"Laq", "algorithm: LAQ } compressor { quantize { bits: 8 } }"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(ResumeTest, AKilledRunGoesOnFromItsLastCheckpoint) {
  train().set_steps(2000);
  const uint64_t whole = run().digest();
  save_every(10);
  start_both();
  ASSERT_TRUE(worker_->wait_for_step(token_of(0), 100));
  kill(running_.at(1), SIGKILL);
  kill(running_.at(0), SIGKILL);
  EXPECT_EQ(wait_for_exit(1), -SIGKILL);
  EXPECT_EQ(wait_for_exit(0), -SIGKILL);
  const uint64_t resumed_digest = run().digest();
  EXPECT_THAT(resumed(), HasSubstr("goes on after step "));
  EXPECT_EQ(resumed_digest, whole);
  // The curves go on behind it, too.
  EXPECT_GT(worker_->reports(token_of(0)).history.front().step(), 100);
}

TEST_F(ResumeTest, TextGoesOnWithTheSameWindows) {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    absl::StrAppend(&text, "line ", i * i, " of the text. ");
  }
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_data()->mutable_bytes()->set_path(directory_.write("text", text));
  v1::Gpt& gpt = *spec.mutable_model()->mutable_gpt();
  gpt.set_layers(1);
  gpt.set_width(16);
  gpt.set_heads(2);
  gpt.set_context(16);
  save_every(25);
  const uint64_t whole = run().digest();
  EXPECT_EQ(run().digest(), whole);
  EXPECT_THAT(resumed(), HasSubstr("after step 50"));
}

// A buffer that counts calls, and dropout.
TEST_F(ResumeTest, BuffersAndRandomNumbersOfAScriptGoOn) {
  torch::jit::Module module("M");
  torch::manual_seed(3);
  module.register_parameter("w", torch::randn({64, 4}).mul_(0.01).requires_grad_(), false);
  module.register_buffer("seen", torch::zeros({1}, torch::kInt64));
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(
      "def forward(self, x):\n"
      "  self.seen.add_(1)\n"
      "  y = torch.dropout(x.flatten(1), 0.5, self.training)\n"
      "  return torch.matmul(y, self.w)\n");
  module.save(directory_.file("model.pt"));
  v1::TorchScript& script = *job_.mutable_spec()->mutable_model()->mutable_torchscript();
  script.set_file(directory_.file("model.pt"));
  script.set_loss(v1::CROSS_ENTROPY);
  const uint64_t whole = run().digest();
  torch::jit::Module trained = torch::jit::load(directory_.file("rank0/model.pt"));
  const int64_t seen = trained.attr("seen").toTensor().item<int64_t>();
  save_every(25);
  run();
  EXPECT_EQ(run().digest(), whole);
  EXPECT_THAT(resumed(), HasSubstr("after step 50"));
  trained = torch::jit::load(directory_.file("rank0/model.pt"));
  EXPECT_EQ(trained.attr("seen").toTensor().item<int64_t>(), seen);
}

TEST_F(ResumeTest, RanksGoOnFromTheNewestStepThatAllHave) {
  save_every(20);
  const uint64_t whole = run().digest();
  const std::string first = content(saved(0, 40));
  const std::string second = content(saved(1, 40));
  save_every(25);
  EXPECT_EQ(run().digest(), whole);
  ASSERT_TRUE(fs::exists(saved(0, 50)));
  // As if rank 1 had ended while it wrote step 50.
  directory_.write("checkpoints/rank-0-step-40.ckpt", first);
  directory_.write("checkpoints/rank-1-step-40.ckpt", second);
  fs::remove(saved(1, 50));
  save_every(1000);
  EXPECT_EQ(run().digest(), whole);
  EXPECT_THAT(resumed(), HasSubstr("after step 40"));
  EXPECT_FALSE(fs::exists(saved(0, 50))) << "it may belong to another course of the run";
}

TEST_F(ResumeTest, WithoutOneRanksFilesAllBeginAnew) {
  save_every(25);
  const uint64_t whole = run().digest();
  fs::remove(saved(1, 50));
  EXPECT_EQ(run().digest(), whole);
  EXPECT_EQ(resumed(), "");
  EXPECT_THAT(told("BEGINS_ANEW"), HasSubstr("none on the node of rank 1"));
}

TEST_F(ResumeTest, StatesOfTwoRunsOfOneJobAreNotMixed) {
  save_every(25);
  const uint64_t whole = run().digest();
  const std::string first_run = content(saved(1, 50));
  fs::remove(saved(1, 50));
  run();
  EXPECT_EQ(resumed(), "");
  directory_.write("checkpoints/rank-1-step-50.ckpt", first_run);
  EXPECT_EQ(run().digest(), whole);
  EXPECT_EQ(resumed(), "");
  EXPECT_THAT(told("BEGINS_ANEW"), HasSubstr("no step that all ranks have"));
}

TEST_F(ResumeTest, AChangedFileIsNotUsed) {
  save_every(25);
  const uint64_t whole = run().digest();
  std::string changed = content(saved(1, 50));
  changed[changed.size() / 2] ^= 4;
  directory_.write("checkpoints/rank-1-step-50.ckpt", changed);
  EXPECT_EQ(run().digest(), whole);
  EXPECT_EQ(resumed(), "");
}

TEST_F(ResumeTest, TheStateOfAnotherJobIsRefusedAndKept) {
  save_every(25);
  run();
  train().mutable_optimizer()->mutable_adamw()->set_learning_rate(0.01);
  start_both();
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
  EXPECT_EQ(wait_for_exit(1), core::kTrainerFailed);
  EXPECT_FALSE(worker_->reports(token_of(0)).hello.has_value()) << "nobody should wait for it";
  const v1::Failure failure = worker_->reports(token_of(0)).failure.value_or(v1::Failure());
  EXPECT_EQ(failure.reason(), "BAD_CHECKPOINT");
  EXPECT_THAT(failure.message(), HasSubstr(saved(0, 50)));
  EXPECT_THAT(failure.message(), HasSubstr("remove the directory on every node to begin anew"));
  EXPECT_TRUE(fs::exists(saved(0, 50)) && fs::exists(saved(1, 50)));
}

TEST_F(ResumeTest, ARankThatCannotSaveIsToldOfAndTheRunGoesOn) {
  save_every(25);
  directory_.write("checkpoints/rank-1-step-25.ckpt/file", "in the way");
  run();
  const std::vector<v1::TrainerEvent> events = worker_->reports(token_of(1)).events;
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].reason(), "CHECKPOINT_NOT_WRITTEN");
  EXPECT_THAT(events[0].message(), HasSubstr(saved(1, 25)));
  EXPECT_FALSE(fs::exists(saved(0, 25))) << "a step that not all have is of no use";
  EXPECT_TRUE(fs::exists(saved(0, 50)) && fs::exists(saved(1, 50)));
}

}  // namespace
}  // namespace laconic::trainer
