// Jobs that leave codec and schedule to the planner.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tests/testing/link_proxy.h"
#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

using ::testing::HasSubstr;

class PlannedRunTest : public RankProcessesTest {
 protected:
  PlannedRunTest() {
    v1::Exchange& exchange = *job_.mutable_spec()->mutable_exchange();
    exchange.mutable_dense();
    exchange.mutable_compressor()->Clear();
    exchange.mutable_compressor()->mutable_auto_();
    job_.mutable_spec()->mutable_train()->set_steps(10);
  }

  // Finished reports of two ranks that trained to the end.
  std::vector<v1::Finished> train_two() {
    start_trainer(0);
    start_trainer(1);
    EXPECT_EQ(wait_for_exit(0) + wait_for_exit(1), 0);
    return {worker_->reports(token_of(0)).finished.value_or(v1::Finished()),
            worker_->reports(token_of(1)).finished.value_or(v1::Finished())};
  }

  std::vector<std::string> notes() {
    std::vector<std::string> messages;
    for (int rank = 0; rank < 2; ++rank) {
      for (const v1::TrainerEvent& event : worker_->reports(token_of(rank)).events) {
        if (event.reason() == "PLAN_CHOSEN") {
          messages.push_back(event.message());
        }
      }
    }
    return messages;
  }

  std::string log_of(int rank) {
    std::ifstream file(directory_.file(absl::StrCat("rank", rank)) + "/stderr");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

const v1::PlannedWay* chosen(const v1::ExchangeChoice& exchange) {
  const auto found = std::find_if(exchange.plan().ways().begin(), exchange.plan().ways().end(),
                                  [](const v1::PlannedWay& way) { return way.chosen(); });
  return found == exchange.plan().ways().end() ? nullptr : &*found;
}

TEST_F(PlannedRunTest, SmallModelOnAFastLinkTrainsDense) {
  start_worker(2);
  const std::vector<v1::Finished> finished = train_two();
  EXPECT_EQ(finished[0].digest(), finished[1].digest());
  const v1::ExchangeChoice& exchange = finished[0].exchange();
  EXPECT_EQ(exchange.codec(), "float32");
  ASSERT_NE(chosen(exchange), nullptr);
  EXPECT_EQ(chosen(exchange)->schedule(), exchange.schedule());
  EXPECT_EQ(chosen(exchange)->codec(), "float32");
  EXPECT_GT(exchange.plan().bytes_per_second(), 1e6);
  EXPECT_FALSE(finished[1].has_exchange());
}

// A link of 20 ms and 1 MB/s each way; 8 x 8 pixels in 2000 hidden units: 0.5 MB of gradient.
TEST_F(PlannedRunTest, ThinLinkTrainsCompressedAndSaysWhy) {
  std::vector<std::unique_ptr<testing::LinkProxy>> links;
  job_.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(2000);
  job_.mutable_spec()->mutable_train()->set_steps(2);
  start_worker(2);
  worker_->route_peers([&](const std::string& address) {
    const testing::LinkFaults thin{.delay = absl::Milliseconds(20), .bytes_per_s = 1'000'000};
    links.push_back(std::make_unique<testing::LinkProxy>(
        testing::LinkOptions{.target = address, .to_target = thin, .from_target = thin}));
    return links.back()->address();
  });
  const std::vector<v1::Finished> finished = train_two();
  EXPECT_EQ(finished[0].digest(), finished[1].digest());
  const v1::ExchangeChoice& exchange = finished[0].exchange();
  EXPECT_EQ(exchange.codec(), "int4");
  ASSERT_NE(chosen(exchange), nullptr);
  EXPECT_LE(chosen(exchange)->error(), exchange.plan().error_budget());
  // A probe that one rank starts late finds the other's on its way: less than the link's 20 ms.
  EXPECT_GE(exchange.plan().latency_seconds(), 0.005);
  EXPECT_LT(exchange.plan().bytes_per_second(), 2e6);
  const std::vector<std::string> told = notes();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_THAT(told[0], HasSubstr("int4 by all_gather, predicted"));
  EXPECT_THAT(told[0], HasSubstr("the fastest dense one, float32 by"));
  EXPECT_THAT(log_of(0), HasSubstr("chosen   all_gather  int4"));
  EXPECT_EQ(log_of(1).find("chosen"), std::string::npos);
  for (const v1::Progress& progress : worker_->reports(token_of(0)).progress) {
    EXPECT_EQ(progress.exchange().codec(), "int4");
  }
}

TEST_F(PlannedRunTest, SitesAreMeasuredAndMayAddUpInside) {
  v1::Exchange& exchange = *job_.mutable_spec()->mutable_exchange();
  exchange.set_ranks_per_site(2);
  exchange.set_schedule(v1::HIERARCHICAL);
  exchange.mutable_compressor()->mutable_auto_()->add_codecs(v1::INT4);
  start_worker(4);
  for (int rank = 0; rank < 4; ++rank) {
    start_trainer(rank);
  }
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(wait_for_exit(rank), core::kTrainerDone);
  }
  const v1::Finished first = worker_->reports(token_of(0)).finished.value_or(v1::Finished());
  EXPECT_EQ(first.exchange().schedule(), "hierarchical");
  EXPECT_EQ(first.exchange().codec(), "int4");
  EXPECT_GT(first.exchange().plan().sites().inside_bytes_per_second(), 1e5);
  EXPECT_GT(first.exchange().plan().sites().between_bytes_per_second(), 1e5);
  EXPECT_GT(first.bytes().sent_between_sites(), 0);
  EXPECT_EQ(worker_->reports(token_of(3)).finished.value_or(v1::Finished()).digest(),
            first.digest());
}

TEST_F(PlannedRunTest, MeasuringOnlyTrainsAndWritesNothing) {
  job_.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_auto_()->set_measure_only(
      true);
  start_worker(2);
  const std::vector<v1::Finished> finished = train_two();
  EXPECT_EQ(finished[0].steps(), 0);
  EXPECT_EQ(finished[0].files_size(), 0);
  EXPECT_GT(finished[0].exchange().plan().ways_size(), 4);
  EXPECT_GT(finished[0].bytes().sent(), 0);
}

TEST_F(PlannedRunTest, NoCodecWithinTheBudgetIsTheJobsFault) {
  v1::Auto& planned =
      *job_.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_auto_();
  planned.add_codecs(v1::INT4);
  planned.set_error_budget(1e-9);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
  EXPECT_EQ(wait_for_exit(1), core::kTrainerFailed);
  const v1::Failure failure = worker_->reports(token_of(0)).failure.value_or(v1::Failure());
  EXPECT_EQ(failure.reason(), "BAD_JOB");
  EXPECT_THAT(failure.message(), HasSubstr("compressor.auto: planner: none of 1 codecs"));
}

TEST_F(PlannedRunTest, BytesOfThePeersAddUpToAllBytes) {
  job_.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_bits(8);
  start_worker(2);
  const std::vector<v1::Finished> finished = train_two();
  EXPECT_EQ(finished[0].exchange().codec(), "int8");
  EXPECT_FALSE(finished[0].exchange().has_plan());
  for (size_t rank = 0; rank < 2; ++rank) {
    const v1::Finished& own = finished[rank];
    const v1::Finished& other = finished[1 - rank];
    ASSERT_EQ(own.peer_bytes_size(), 2);
    const v1::ByteCounts& to_other = own.peer_bytes(static_cast<int>(1 - rank));
    EXPECT_EQ(own.peer_bytes(static_cast<int>(rank)).sent(), 0);
    EXPECT_EQ(to_other.sent(), own.bytes().sent());
    EXPECT_EQ(to_other.payload_sent(), other.peer_bytes(static_cast<int>(rank)).payload_received());
    EXPECT_EQ(to_other.sent(), other.peer_bytes(static_cast<int>(rank)).received());
  }
}

}  // namespace
}  // namespace laconic::trainer
