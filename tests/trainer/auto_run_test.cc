// Jobs that leave the method to what the ranks measure, as real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/link_proxy.h"
#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

using ::testing::HasSubstr;

class AutoRunTest : public RankProcessesTest {
 protected:
  AutoRunTest() {
    job_.mutable_spec()->mutable_exchange()->clear_compressor();
    limits();
  }
  v1::AutoMethod& limits() { return *job_.mutable_spec()->mutable_exchange()->mutable_auto_(); }

  // Exit codes of two ranks, added.
  int run() {
    start_trainer(0);
    start_trainer(1);
    return wait_for_exit(0) + wait_for_exit(1);
  }
  v1::Finished finished(int rank) {
    return worker_->reports(token_of(rank)).finished.value_or(v1::Finished());
  }
  std::string told() {
    std::string message;
    for (int rank = 0; rank < 2; ++rank) {
      for (const v1::TrainerEvent& event : worker_->reports(token_of(rank)).events) {
        message += event.reason() == "METHOD_CHOSEN" ? event.message() : "";
      }
    }
    return message;
  }
};

TEST_F(AutoRunTest, LinkThatCarriesEveryStepTrainsDense) {
  limits().set_wait(0.9);
  // Computing that takes longer than a small exchange on any machine.
  job_.mutable_spec()->mutable_model()->mutable_conv();
  job_.mutable_spec()->mutable_train()->set_batch_size(200);
  start_worker(2);
  ASSERT_EQ(run(), 0);
  EXPECT_EQ(finished(0).digest(), finished(1).digest());
  EXPECT_EQ(finished(0).rounds(), 60);
  EXPECT_EQ(finished(0).exchange().codec(), "float32");
  EXPECT_THAT(told(), HasSubstr("dense, every step, in float32"));
  EXPECT_EQ(finished(0).exchange().method(), told());
  EXPECT_GE(finished(0).similarity_size(), 5);
}

TEST_F(AutoRunTest, ThinLinkTrainsLocalAndKeepsWithinTheWait) {
  std::vector<std::unique_ptr<testing::LinkProxy>> links;
  job_.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(500);
  start_worker(2);
  worker_->route_peers([&](const std::string& address) {
    const testing::LinkFaults thin{.delay = absl::Milliseconds(10), .bytes_per_s = 1'000'000};
    links.push_back(std::make_unique<testing::LinkProxy>(
        testing::LinkOptions{.target = address, .to_target = thin, .from_target = thin}));
    return links.back()->address();
  });
  ASSERT_EQ(run(), 0);
  EXPECT_EQ(finished(0).digest(), finished(1).digest());
  EXPECT_LT(finished(0).rounds(), 30);
  EXPECT_THAT(told(), HasSubstr("local, "));
  EXPECT_THAT(told(), HasSubstr("dense float32 would wait"));
  EXPECT_GT(finished(0).eval_accuracy(), 0.5);
}

TEST_F(AutoRunTest, BytesOfTheWholeRunKeepWithinTheLimit) {
  job_.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(200);
  constexpr int64_t kBytes = 60'000;  // 54,816 parameters: a dense step sends 55,000
  limits().set_bytes(kBytes);
  limits().set_wait(0.9);
  start_worker(2);
  ASSERT_EQ(run(), 0);
  EXPECT_EQ(finished(0).digest(), finished(1).digest());
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_LE(finished(rank).bytes().sent(), kBytes);
    EXPECT_GT(finished(rank).bytes().sent(), kBytes / 4);
  }
  EXPECT_THAT(told(), HasSubstr("(allowed: 60.0 kB with "));
  EXPECT_GT(finished(0).rounds(), 2);
}

TEST_F(AutoRunTest, FewerBytesThanOneRoundNeedsAreTheJobsFault) {
  limits().set_bytes(1000);
  start_worker(2);
  EXPECT_EQ(run(), 2 * core::kTrainerFailed);
  const v1::Failure failure = worker_->reports(token_of(0)).failure.value_or(v1::Failure());
  EXPECT_EQ(failure.reason(), "BAD_JOB");
  EXPECT_THAT(failure.message(), HasSubstr("spec.exchange.auto: bytes is 1000; allowed: at least"));
}

TEST_F(AutoRunTest, OneRankAloneIsDenseAndSendsNothing) {
  start_worker(1);
  start_trainer(0);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
  EXPECT_EQ(finished(0).bytes().sent(), 0);
  EXPECT_THAT(finished(0).exchange().method(), HasSubstr("alone"));
}

}  // namespace
}  // namespace laconic::trainer
