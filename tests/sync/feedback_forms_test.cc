// EF21 and bfloat16 residuals through whole rounds.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/sync/mean_exchange.h"
#include "tests/collective/failing_transport.h"
#include "tests/collective/world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::FailingTransport;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;
using Floats = std::vector<float>;

constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8};
constexpr core::CodecSpec kSignRows = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = 0.1};

struct Case {
  const char* name;
  core::ExchangeSpec spec;
};

core::ExchangeSpec ef21(const core::CodecSpec& codec) {
  core::ExchangeSpec spec;
  spec.codec = codec;
  spec.error_feedback = true;
  spec.feedback = core::FeedbackForm::kEf21;
  return spec;
}

core::ExchangeSpec half(const core::CodecSpec& codec, core::Schedule schedule) {
  core::ExchangeSpec spec;
  spec.codec = codec;
  spec.schedule = schedule;
  spec.error_feedback = true;
  spec.half_residuals = true;
  spec.residual_decay = 0.9;
  return spec;
}

std::vector<Case> all_cases() {
  return {{"Ef21Int8", ef21(kInt8)},
          {"Ef21SignRows", ef21(kSignRows)},
          {"Ef21TopK", ef21(kTopK)},
          {"HalfGatheredTopK", half(kTopK, core::Schedule::kAllGather)},
          {"HalfShardedSignRows", half(kSignRows, core::Schedule::kSharded)},
          {"HalfStarInt8", half(kInt8, core::Schedule::kStar)}};
}

core::Layout layout() {
  return {{{"weight", 7, 43}, {"bias", 1, 7}}};  // 308 elements
}

Floats vector_of(int rank, int round) {
  core::Random random(41, static_cast<uint64_t>(100 * rank + round));
  Floats values(static_cast<size_t>(layout().elements()));
  for (float& value : values) {
    value = static_cast<float>(random.uniform() * 2 - 1);
  }
  return values;
}

class FeedbackFormTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, FeedbackFormTest,
                         ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(FeedbackFormTest, AllRanksGetTheSameBitsInEveryRound) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  std::vector<collective::Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, 1, kTestDeadline);
  }
  for (const Case& test_case : all_cases()) {
    SCOPED_TRACE(test_case.name);
    constexpr int kRounds = 4;
    std::vector<std::vector<Floats>> means(kRounds, std::vector<Floats>(transports.size()));
    on_all_ranks(world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      ASSERT_OK_AND_ASSIGN(const auto exchange,
                           MeanExchange::make(test_case.spec, layout(), communicators[r]));
      for (int round = 0; round < kRounds; ++round) {
        Floats v = vector_of(rank, round);
        ASSERT_OK(exchange->mean(v, v));
        means[static_cast<size_t>(round)][r] = v;
        EXPECT_GT(exchange->stats().update_norm, 0);
        // The owner of everything, alone or of a star, encodes nothing of its own.
        EXPECT_TRUE(world_size == 1 || exchange->stats().residual_norm > 0);
      }
    });
    for (const std::vector<Floats>& ranks : means) {
      for (const Floats& mean : ranks) {
        EXPECT_TRUE(mean == ranks[0]);
      }
    }
    EXPECT_FALSE(means[0][0] == means[1][0]);
  }
  laconic::testing::finish_all(transports);
}

// Three ranks over links that are replaced after every failure.
class FailingWorld {
 public:
  explicit FailingWorld(const core::ExchangeSpec& spec) {
    replace(-1);
    for (size_t r = 0; r < kRanks; ++r) {
      communicators_.push_back(
          std::make_unique<collective::Communicator>(*links_[r], 1, kTestDeadline));
      auto made = MeanExchange::make(spec, layout(), *communicators_[r]);
      EXPECT_OK(made.status());
      exchanges_.push_back(*std::move(made));
    }
  }

  // Every rank fails at its own message `fails_at`, so none can finish. -1: none fails.
  // Returns how many ended with an error.
  int round(int round, int fails_at) {
    replace(fails_at);
    std::atomic<int> errors = 0;
    on_all_ranks(kRanks, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      Floats v = vector_of(rank, round);
      const absl::Status status = exchanges_[r]->mean(v, v);
      if (!status.ok()) {
        ++errors;
        EXPECT_TRUE(v == vector_of(rank, round));
        for (const auto& link : links_) {
          link->abort(absl::AbortedError("generation over"));
        }
      }
      means_[r] = v;
    });
    return errors;
  }
  const Floats& mean() const {
    EXPECT_TRUE(means_[1] == means_[0] && means_[2] == means_[0]);
    return means_[0];
  }

 private:
  static constexpr int kRanks = 3;

  void replace(int fails_at) {
    collective::InProcessNetwork network(kRanks);
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto r = static_cast<size_t>(rank);
      if (links_[r] == nullptr) {
        links_[r] = std::make_unique<FailingTransport>(network.endpoint(rank), fails_at);
      } else {
        links_[r]->replace(network.endpoint(rank), fails_at);
      }
    }
  }

  std::array<std::unique_ptr<FailingTransport>, kRanks> links_;
  std::vector<std::unique_ptr<collective::Communicator>> communicators_;
  std::vector<std::unique_ptr<MeanExchange>> exchanges_;
  std::array<Floats, kRanks> means_;
};

TEST(FeedbackFormAbortTest, RoundThatFailedAtAnyMessageIsTriedAgainWithTheSameBits) {
  for (const Case& test_case : all_cases()) {
    SCOPED_TRACE(test_case.name);
    FailingWorld undisturbed(test_case.spec);
    std::vector<Floats> expected;
    for (int round = 0; round < 3; ++round) {
      ASSERT_EQ(undisturbed.round(round, -1), 0);
      expected.push_back(undisturbed.mean());
    }
    int index = 0;
    for (; index < 100; ++index) {
      SCOPED_TRACE(absl::StrCat("message ", index));
      FailingWorld world(test_case.spec);
      ASSERT_EQ(world.round(0, -1), 0);
      if (world.round(1, index) < 3) {
        break;  // Some rank has fewer messages than that.
      }
      ASSERT_EQ(world.round(1, index / 2), 3);
      ASSERT_EQ(world.round(1, -1), 0);
      ASSERT_TRUE(world.mean() == expected[1]);
      ASSERT_EQ(world.round(2, -1), 0);
      ASSERT_TRUE(world.mean() == expected[2]);
    }
    EXPECT_GE(index, 2);
  }
}

// Ranks that want different things: rank i's loss is |x - t_i|^2 / 2. With a constant step EF21
// reaches the mean of the t_i (NeurIPS 2021, theorem 1: the rate is linear), a residual stays off
// it by an amount that the step and the ranks' own gradients set.
double distance_after_descent(const core::ExchangeSpec& spec) {
  constexpr int kRanks = 3;
  constexpr int kSteps = 600;
  constexpr float kRate = 0.05F;
  collective::InProcessNetwork network(kRanks);
  Transports transports = laconic::testing::in_process_world(network, kRanks);
  std::vector<Floats> ends(kRanks);
  on_all_ranks(kRanks, [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    collective::Communicator communicator(*transports[r], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto exchange, MeanExchange::make(spec, layout(), communicator));
    const Floats target = vector_of(rank, 0);
    Floats x(target.size());
    Floats gradient(target.size());
    for (int step = 0; step < kSteps; ++step) {
      std::transform(x.begin(), x.end(), target.begin(), gradient.begin(), std::minus<>());
      ASSERT_OK(exchange->mean(gradient, gradient));
      std::transform(x.begin(), x.end(), gradient.begin(), x.begin(),
                     [](float value, float slope) { return value - kRate * slope; });
    }
    ends[r] = x;
  });
  double squares = 0;
  for (size_t i = 0; i < ends[0].size(); ++i) {
    const double best =
        (static_cast<double>(vector_of(0, 0)[i]) + static_cast<double>(vector_of(1, 0)[i]) +
         static_cast<double>(vector_of(2, 0)[i])) /
        3;
    squares += (static_cast<double>(ends[0][i]) - best) * (static_cast<double>(ends[0][i]) - best);
  }
  return std::sqrt(squares);
}

TEST(FeedbackFormConvergenceTest, Ef21ReachesTheOptimumOfUnlikeRanksWhereAResidualStaysOff) {
  core::ExchangeSpec residual = ef21(kTopK);
  residual.feedback = core::FeedbackForm::kResidual;
  const double with_residual = distance_after_descent(residual);
  const double with_ef21 = distance_after_descent(ef21(kTopK));
  RecordProperty("distance_residual", std::to_string(with_residual));
  RecordProperty("distance_ef21", std::to_string(with_ef21));
  EXPECT_LT(with_ef21, 1e-3);
  EXPECT_GT(with_residual, 0.1);
}

TEST(FeedbackFormSpecTest, Ef21IsRefusedWhereItMeansNothing) {
  collective::InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  core::ExchangeSpec sharded = ef21(kInt8);
  sharded.schedule = core::Schedule::kSharded;
  core::ExchangeSpec decaying = ef21(kInt8);
  decaying.residual_decay = 0.9;
  core::ExchangeSpec in_half = ef21(kInt8);
  in_half.half_residuals = true;
  for (const core::ExchangeSpec& spec : {sharded, decaying, in_half, ef21({})}) {
    EXPECT_THAT(MeanExchange::make(spec, layout(), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("EF21 with")));
  }
  EXPECT_OK(MeanExchange::make(ef21(kInt8), layout(), communicator).status());
}

}  // namespace
}  // namespace laconic::sync
