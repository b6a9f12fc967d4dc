// MeanExchange over every schedule: equal bits, the bytes that `laconic validate` predicts, and no
// trace of a round that failed.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/core/schedule_choice.h"
#include "common/sync/mean_exchange.h"
#include "tests/collective/world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;

constexpr core::CodecSpec kNone = {};
constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8};
constexpr core::CodecSpec kSignRows = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};

struct Case {
  core::Schedule schedule;
  core::CodecSpec codec;
};
std::vector<Case> all_cases() {
  std::vector<Case> cases = {{core::Schedule::kRing, kNone}};
  for (const core::CodecSpec& codec : {kNone, kInt8, kSignRows}) {
    for (const core::Schedule schedule :
         {core::Schedule::kAuto, core::Schedule::kAllGather, core::Schedule::kSharded,
          core::Schedule::kStar, core::Schedule::kTree, core::Schedule::kHierarchical}) {
      cases.push_back({schedule, codec});
    }
  }
  return cases;
}

core::Layout layout() {
  return {{{"weight", 90, 43}, {"bias", 1, 70}}};  // 3,940 elements
}

core::ExchangeSpec spec_of(const Case& test_case) {
  core::ExchangeSpec spec;
  spec.schedule = test_case.schedule;
  spec.codec = test_case.codec;
  spec.error_feedback = test_case.codec.lossy();
  return spec;
}

std::vector<float> vector_of(int rank, int round) {
  core::Random random(29, static_cast<uint64_t>(10 * rank + round));
  std::vector<float> values(static_cast<size_t>(layout().elements()));
  for (float& value : values) {
    value = static_cast<float>(random.uniform() * 2 - 1);
  }
  return values;
}

class ScheduleSyncTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, ScheduleSyncTest,
                         ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(ScheduleSyncTest, EveryScheduleGivesAllRanksTheSameBitsAndSendsWhatIsPredicted) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  std::vector<collective::Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, 1, kTestDeadline);
  }
  for (const Case& test_case : all_cases()) {
    const core::Schedule chosen =
        core::choose_schedule(test_case.schedule, test_case.codec, layout(), world_size);
    SCOPED_TRACE(absl::StrCat(core::schedule_name(chosen), " bits ", test_case.codec.bits));
    std::vector<std::vector<float>> means(transports.size());
    std::vector<int64_t> sent(transports.size());
    on_all_ranks(world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      ASSERT_OK_AND_ASSIGN(const auto exchange,
                           MeanExchange::make(spec_of(test_case), layout(), communicators[r]));
      EXPECT_EQ(exchange->schedule(), chosen);
      for (int round = 0; round < 3; ++round) {
        means[r].resize(static_cast<size_t>(exchange->elements()));
        ASSERT_OK(exchange->mean(vector_of(rank, round), means[r]));
      }
      EXPECT_EQ(exchange->stats().rounds, 3);
      EXPECT_GT(exchange->stats().update_norm, 0);
      sent[r] = communicators[r].operation_bytes().sent;
    });
    for (const std::vector<float>& mean : means) {
      EXPECT_TRUE(mean == means[0]);
    }
    // Exact for codecs of a fixed size; the shards of all_reduce_mean are rounded up for each peer.
    const int64_t most = *std::max_element(sent.begin(), sent.end());
    const int64_t predicted = core::sent_bytes_max(chosen, test_case.codec, layout(), world_size);
    EXPECT_LE(most, predicted);
    EXPECT_GE(most, predicted - 2 * 4 * (world_size - 1));
  }
  laconic::testing::finish_all(transports);
}

TEST(ScheduleSyncFailureTest, FailedRoundLeavesTheVectorAndCountsForNothing) {
  for (const Case& test_case : all_cases()) {
    collective::InProcessNetwork network(2);
    Transports transports = laconic::testing::in_process_world(network, 2);
    collective::Communicator communicator(*transports[0], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto exchange,
                         MeanExchange::make(spec_of(test_case), layout(), communicator));
    communicator.abort(absl::CancelledError("stop"));
    std::vector<float> v = vector_of(0, 0);
    for (int attempt = 0; attempt < 3; ++attempt) {
      EXPECT_THAT(exchange->mean(v, v), StatusIs(absl::StatusCode::kCancelled, "stop"));
      EXPECT_TRUE(v == vector_of(0, 0));
      EXPECT_EQ(exchange->stats().rounds, 0);
    }
  }
}

TEST(ScheduleSyncFailureTest, RingWithACodecIsRefused) {
  collective::InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  EXPECT_EQ(MeanExchange::make(spec_of({core::Schedule::kRing, kInt8}), layout(), communicator)
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace laconic::sync
