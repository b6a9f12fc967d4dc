#include "common/collective/shared_index_mean.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/compress/positions.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "common/core/schedule_choice.h"
#include "tests/collective/failing_transport.h"
#include "tests/collective/world.h"
#include "tests/compress/test_vectors.h"

namespace laconic::collective {
namespace {

using core::Agreement;
using ::laconic::testing::FailingTransport;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;
using Floats = std::vector<float>;

struct Case {
  const char* name;
  core::SharedIndexSpec spec;
  core::Schedule schedule = core::Schedule::kSharded;
};

const std::vector<Case>& all_cases() {
  static const auto* const kCases = new std::vector<Case>{
      {"LeaderFloat", {.density = 0.1}},
      {"LeaderFloatRing", {.density = 0.1}, core::Schedule::kRing},
      {"LeaderInt8", {.density = 0.1, .value_bits = 8}},
      {"LeaderInt4", {.density = 0.1, .value_bits = 4}},
      {"SketchFloat", {.density = 0.2, .agreement = Agreement::kSketch, .block = 16}},
      {"SketchInt8",
       {.density = 0.2, .value_bits = 8, .agreement = Agreement::kSketch, .block = 16}}};
  return *kCases;
}

SharedIndexOptions options_of(const Case& test_case, int rank, int world_size, int64_t elements) {
  return {.rank = rank,
          .world_size = world_size,
          .schedule = test_case.schedule,
          .spec = test_case.spec,
          .elements = elements,
          .error_feedback = true,
          .residual_decay = 0.9};
}

Floats vector_of(int rank, int round, int64_t elements) {
  return compress::gauss(static_cast<uint64_t>(1000 * round + rank), elements);
}

Floats mean_of(const SharedIndexMean& shared, int64_t elements) {
  Floats mean(static_cast<size_t>(elements));
  shared.write_mean(mean);
  return mean;
}

class SharedIndexMeanTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, SharedIndexMeanTest,
                         ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

// Equal bits on all ranks; what was owed is P means and what is owed now; zero outside the support.
TEST_P(SharedIndexMeanTest, AllRanksGetTheSameBitsAndNothingIsLost) {
  constexpr int kRounds = 4;
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  std::vector<Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, 1, kTestDeadline);
  }
  for (const Case& test_case : all_cases()) {
    for (const int64_t elements : {1, 2, 15, 16, 17, 251, 5000}) {
      SCOPED_TRACE(absl::StrCat(test_case.name, " of ", elements));
      std::vector<std::unique_ptr<SharedIndexMean>> ranks;
      for (int rank = 0; rank < world_size; ++rank) {
        auto made = SharedIndexMean::make(options_of(test_case, rank, world_size, elements));
        ASSERT_OK(made.status());
        ranks.push_back(*std::move(made));
      }
      for (int round = 0; round < kRounds; ++round) {
        std::vector<double> owed(static_cast<size_t>(elements));
        for (int rank = 0; rank < world_size; ++rank) {
          const Floats v = vector_of(rank, round, elements);
          const auto residual = ranks[static_cast<size_t>(rank)]->residual();
          for (size_t i = 0; i < v.size(); ++i) {
            owed[i] += static_cast<double>(0.9F * residual[i] + v[i]);
          }
        }
        on_all_ranks(world_size, [&](int rank) {
          const auto r = static_cast<size_t>(rank);
          ASSERT_OK(ranks[r]->run(communicators[r], vector_of(rank, round, elements),
                                  {.round = static_cast<uint64_t>(round)}));
          ASSERT_OK(ranks[r]->commit().status());
        });
        const Floats mean = mean_of(*ranks[0], elements);
        for (const auto& rank : ranks) {
          ASSERT_TRUE(mean_of(*rank, elements) == mean);
          ASSERT_TRUE(std::ranges::equal(rank->positions(), ranks[0]->positions()));
          for (size_t i = 0; i < mean.size(); ++i) {
            owed[i] -= static_cast<double>(rank->residual()[i]);
          }
        }
        for (size_t i = 0; i < mean.size(); ++i) {
          // A few float32 roundings of sums of up to 7 numbers below 40.
          ASSERT_NEAR(owed[i], world_size * static_cast<double>(mean[i]), 1e-3) << i;
        }
        const auto sent = static_cast<size_t>(
            std::ranges::count_if(mean, [](float value) { return value != 0; }));
        EXPECT_LE(sent, ranks[0]->positions().size());
        EXPECT_GT(sent, 0U);
      }
    }
  }
  laconic::testing::finish_all(transports);
}

TEST_P(SharedIndexMeanTest, LargestSenderSendsWhatIsPredictedAndNoMorePerRankInLargerWorlds) {
  constexpr int64_t kElements = 100'000;
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  for (const Case& test_case : all_cases()) {
    SCOPED_TRACE(test_case.name);
    std::vector<int64_t> sent(transports.size());
    on_all_ranks(world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      Communicator communicator(*transports[r], 1, kTestDeadline);
      ASSERT_OK_AND_ASSIGN(const auto shared, SharedIndexMean::make(options_of(
                                                  test_case, rank, world_size, kElements)));
      const int64_t before = communicator.bytes().sent;
      ASSERT_OK(shared->run(communicator, vector_of(rank, 0, kElements), {}));
      sent[r] = communicator.bytes().sent - before;
    });
    const int64_t most = *std::ranges::max_element(sent);
    const int64_t predicted = core::shared_index_sent_bytes(
        test_case.spec, test_case.schedule, core::flat_layout(kElements), world_size);
    EXPECT_LE(most, predicted);
    EXPECT_GE(most, 0.97 * static_cast<double>(predicted));
    EXPECT_LE(most, 2.2 * static_cast<double>(core::shared_index_payload_bytes(
                              test_case.spec, core::flat_layout(kElements))));
  }
  laconic::testing::finish_all(transports);
}

// All ranks of a job, which outlive its generations.
class Job {
 public:
  explicit Job(const Case& test_case) {
    for (int rank = 0; rank < kRanks; ++rank) {
      auto made = SharedIndexMean::make(options_of(test_case, rank, kRanks, kElements));
      EXPECT_OK(made.status());
      ranks_.push_back(*std::move(made));
    }
  }

  // One round in a generation of its own; returns how many ranks ended with an error.
  int round(int round, int failing, int fails_at) {
    ++generation_;
    InProcessNetwork network(kRanks);
    Transports transports;
    for (int rank = 0; rank < kRanks; ++rank) {
      transports.push_back(std::make_unique<FailingTransport>(network.endpoint(rank),
                                                              rank == failing ? fails_at : -1));
    }
    std::atomic<int> errors = 0;
    on_all_ranks(kRanks, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      Communicator communicator(*transports[r], generation_, kTestDeadline);
      if (!ranks_[r]
               ->run(communicator, vector_of(rank, round, kElements),
                     {.round = static_cast<uint64_t>(round)})
               .ok()) {
        ++errors;
        for (const auto& transport : transports) {
          transport->abort(absl::AbortedError("generation over"));
        }
      }
    });
    for (const auto& rank : ranks_) {
      // A rank that had got everything before the fault reached it has not committed either.
      if (errors > 0) {
        rank->rollback();
      } else {
        EXPECT_OK(rank->commit().status());
      }
    }
    return errors;
  }

  // The mean, then every rank's residual.
  Floats state() const {
    Floats all = mean_of(*ranks_[0], kElements);
    for (const auto& rank : ranks_) {
      EXPECT_TRUE(mean_of(*rank, kElements) == mean_of(*ranks_[0], kElements));
      all.insert(all.end(), rank->residual().begin(), rank->residual().end());
    }
    return all;
  }

 private:
  static constexpr int kRanks = 3;
  static constexpr int64_t kElements = 400;

  std::vector<std::unique_ptr<SharedIndexMean>> ranks_;
  uint64_t generation_ = 0;
};

TEST(SharedIndexAbortTest, FaultAtEveryMessageLeavesNoTraceAndTheRoundCanBeTriedAgain) {
  for (const Case& test_case : all_cases()) {
    SCOPED_TRACE(test_case.name);
    Job undisturbed(test_case);
    std::vector<Floats> expected;
    for (int round = 0; round < 3; ++round) {
      ASSERT_EQ(undisturbed.round(round, -1, -1), 0);
      expected.push_back(undisturbed.state());
    }
    for (int failing = 0; failing < 3; ++failing) {
      int index = 0;
      for (; index < 1000; ++index) {
        SCOPED_TRACE(absl::StrCat("rank ", failing, " fails at message ", index));
        Job job(test_case);
        ASSERT_EQ(job.round(0, -1, -1), 0);
        if (job.round(1, failing, index) == 0) {
          break;  // It has no more messages than that.
        }
        // Twice in a row: a retry may fail as well, and elsewhere.
        ASSERT_GE(job.round(1, failing, index / 2), 1);
        ASSERT_EQ(job.round(1, -1, -1), 0);
        ASSERT_TRUE(job.state() == expected[1]);
        ASSERT_EQ(job.round(2, -1, -1), 0);
        ASSERT_TRUE(job.state() == expected[2]);
      }
      // Agreement and values, both scattered and gathered: two peers, there and back.
      EXPECT_GE(index, 2 * 2 * 2 * 2);
    }
  }
}

TEST(SharedIndexMeanStepsTest, LeaderIsTheRankOfTheRoundAndTakesItsLargest) {
  constexpr int64_t kElements = 20;
  InProcessNetwork network(3);
  Transports transports = laconic::testing::in_process_world(network, 3);
  const Case test_case = {"", {.density = 0.1}};
  on_all_ranks(3, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto shared,
                         SharedIndexMean::make(options_of(test_case, rank, 3, kElements)));
    for (uint64_t round = 0; round < 5; ++round) {
      // Rank r is largest at 2 r and 2 r + 1, but what it owes of earlier rounds stays below that.
      Floats v(kElements, 1.0F);
      v[static_cast<size_t>(2 * rank)] = 1000;
      v[static_cast<size_t>(2 * rank + 1)] = -1000;
      ASSERT_OK(shared->run(communicator, v, {.round = round}));
      ASSERT_OK(shared->commit().status());
      const auto first = static_cast<uint32_t>(2 * (round % 3));
      EXPECT_TRUE(std::ranges::equal(shared->positions(), std::vector<uint32_t>{first, first + 1}));
      if (round == 0) {
        EXPECT_EQ(mean_of(*shared, kElements)[0], (1000.0F + 1 + 1) / 3);
      }
    }
  });
}

// The sketch sees what no rank alone would take: a block that is second on every rank.
TEST(SharedIndexMeanStepsTest, SketchTakesTheBlockWithMostEnergyOverAllRanks) {
  constexpr int64_t kElements = 16 * 10 - 3;
  InProcessNetwork network(3);
  Transports transports = laconic::testing::in_process_world(network, 3);
  const Case test_case = {"", {.density = 0.1, .agreement = Agreement::kSketch, .block = 16}};
  on_all_ranks(3, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto shared,
                         SharedIndexMean::make(options_of(test_case, rank, 3, kElements)));
    Floats v(kElements);
    v[static_cast<size_t>(16 * rank + 3)] = 10;
    v[kElements - 1] = 8;  // In the short last block.
    ASSERT_OK(shared->run(communicator, v, {}));
    ASSERT_OK(shared->commit().status());
    EXPECT_EQ(shared->positions().size(), 13U);
    EXPECT_EQ(shared->positions().front(), 16U * 9);
    EXPECT_EQ(mean_of(*shared, kElements)[kElements - 1], 8);
    EXPECT_EQ(shared->residual()[static_cast<size_t>(16 * rank + 3)], 10);
    EXPECT_EQ(shared->residual()[kElements - 1], 0);
  });
}

TEST(SharedIndexMeanStepsTest, WithoutErrorFeedbackNothingIsKept) {
  InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  Communicator communicator(*transports[0], 1, kTestDeadline);
  SharedIndexOptions options = options_of(all_cases()[2], 0, 1, 100);
  options.error_feedback = false;
  ASSERT_OK_AND_ASSIGN(const auto shared, SharedIndexMean::make(options));
  ASSERT_OK(shared->run(communicator, vector_of(0, 0, 100), {}));
  ASSERT_OK_AND_ASSIGN(const compress::FeedbackNorms norms, shared->commit());
  EXPECT_EQ(norms.residual, 0);
  EXPECT_GT(norms.compression_error_ratio, 0);
  EXPECT_TRUE(std::ranges::equal(shared->residual(), Floats(100)));
}

// Rank 1 leads round 1 and lies; rank 0 must name it.
absl::Status against_liar(const std::function<void(Communicator&)>& liar) {
  constexpr int64_t kElements = 100;
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  absl::Status status;
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    if (rank == 1) {
      liar(communicator);
      network.drop(1);
      return;
    }
    const auto shared = SharedIndexMean::make(options_of(all_cases()[0], 0, 2, kElements));
    ASSERT_OK(shared.status());
    status = (*shared)->run(communicator, vector_of(0, 0, kElements), {.round = 1});
    EXPECT_EQ(communicator.failed_rank(), 1);
    // What was to be sent still is owed.
    EXPECT_TRUE(std::ranges::equal((*shared)->residual(), vector_of(0, 0, kElements)));
    network.drop(0);
  });
  return status;
}

Payload frame_of(const std::vector<uint32_t>& positions) {
  std::vector<uint8_t> bytes(200);
  bytes.resize(compress::encode_positions(positions, 100, bytes));
  return Payload(std::move(bytes));
}

constexpr OpTag kRoundOne = {.round = 1};

TEST(HostileLeaderTest, WrongNumberOfPositionsIsDataLoss) {
  for (const uint32_t count : {0U, 1U, 9U}) {
    std::vector<uint32_t> positions(count);
    for (uint32_t i = 0; i < count; ++i) {
      positions[i] = 7 * i;
    }
    EXPECT_THAT(against_liar([&](Communicator& communicator) {
                  static_cast<void>(communicator.broadcast(1, frame_of(positions), 200, kRoundOne));
                }),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("positions from rank 1")))
        << count;
  }
}

TEST(HostileLeaderTest, PositionsOutsideTheVectorAndBrokenFramesAreDataLoss) {
  const std::vector<uint32_t> ten = {1, 5, 9, 20, 33, 47, 58, 60, 71, 99};
  const Payload good = frame_of(ten);
  for (size_t bit = 0; bit < 8 * good.size; ++bit) {
    std::vector<uint8_t> bytes(good.bytes().begin(), good.bytes().end());
    bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    // Other positions are as good as these; then the liar's silence is found.
    const absl::Status status = against_liar([&](Communicator& communicator) {
      static_cast<void>(communicator.broadcast(1, Payload(bytes), 200, kRoundOne));
    });
    EXPECT_TRUE(absl::IsDataLoss(status) || absl::IsUnavailable(status)) << bit << ": " << status;
  }
  std::vector<uint8_t> longer(good.bytes().begin(), good.bytes().end());
  longer.push_back(0);
  EXPECT_THAT(against_liar([&](Communicator& communicator) {
                static_cast<void>(communicator.broadcast(1, Payload(longer), 200, kRoundOne));
              }),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
}

TEST(HostileLeaderTest, FrameAboveTheBoundIsRefusedBeforeAllocation) {
  EXPECT_THAT(against_liar([&](Communicator& communicator) {
                static_cast<void>(communicator.broadcast(1, Payload(std::vector<uint8_t>(1 << 20)),
                                                         1 << 20, kRoundOne));
              }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the limit is")));
}

TEST(HostileLeaderTest, TooFewValuesAreDataLoss) {
  EXPECT_THAT(against_liar([&](Communicator& communicator) {
                const Payload good = frame_of({1, 5, 9, 20, 33, 47, 58, 60, 71, 99});
                ASSERT_OK(communicator.broadcast(1, good, 200, kRoundOne).status());
                Floats values(8, 1.0F);
                static_cast<void>(communicator.all_reduce_mean(values, kRoundOne));
              }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("due are 20")));
}

TEST(SharedIndexOptionsTest, RefusesWhatIsOutOfRange) {
  const auto code_of = [](const SharedIndexOptions& options) {
    return SharedIndexMean::make(options).status().code();
  };
  const SharedIndexOptions good = options_of(all_cases()[4], 0, 2, 100);
  EXPECT_EQ(code_of(good), absl::StatusCode::kOk);
  for (const double density : {0.0, -0.1, 0.51, std::numeric_limits<double>::quiet_NaN()}) {
    SharedIndexOptions bad = good;
    bad.spec.density = density;
    EXPECT_EQ(code_of(bad), absl::StatusCode::kInvalidArgument) << density;
  }
  for (const int bits : {0, 1, 2, 16}) {
    SharedIndexOptions bad = good;
    bad.spec.value_bits = bits;
    EXPECT_EQ(code_of(bad), absl::StatusCode::kInvalidArgument) << bits;
  }
  for (const int64_t block : {0, 8, 48, 131'072}) {
    SharedIndexOptions bad = good;
    bad.spec.block = block;
    EXPECT_EQ(code_of(bad), absl::StatusCode::kInvalidArgument) << block;
  }
  SharedIndexOptions ring_in_int8 = options_of(all_cases()[2], 0, 2, 100);
  ring_in_int8.schedule = core::Schedule::kRing;
  EXPECT_EQ(code_of(ring_in_int8), absl::StatusCode::kInvalidArgument);
  SharedIndexOptions empty = good;
  empty.elements = 0;
  EXPECT_EQ(code_of(empty), absl::StatusCode::kInvalidArgument);
}

TEST(SharedIndexOptionsTest, RefusesNansAndWrongLengths) {
  InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  Communicator communicator(*transports[0], 1, kTestDeadline);
  ASSERT_OK_AND_ASSIGN(const auto shared,
                       SharedIndexMean::make(options_of(all_cases()[0], 0, 1, 100)));
  Floats v = vector_of(0, 0, 100);
  v[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(shared->run(communicator, v, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 7")));
  EXPECT_THAT(shared->run(communicator, Floats(99), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 100")));
  ASSERT_OK(shared->run(communicator, vector_of(0, 0, 100), {}));
  EXPECT_THAT(shared->run(communicator, vector_of(0, 0, 100), {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
}

}  // namespace
}  // namespace laconic::collective
