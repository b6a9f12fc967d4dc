// MeanExchange with a shared index, and how it compares with plain top-k.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/sync/mean_exchange.h"
#include "tests/collective/world.h"
#include "tests/compress/test_vectors.h"

namespace laconic::sync {
namespace {

using core::Agreement;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;
using Floats = std::vector<float>;

core::ExchangeSpec shared(const core::SharedIndexSpec& index) {
  core::ExchangeSpec spec;
  spec.shared_index = index;
  spec.error_feedback = true;
  return spec;
}

core::ExchangeSpec plain_top_k(double density) {
  core::ExchangeSpec spec;
  spec.codec = {.kind = core::CodecKind::kTopK, .bits = 32, .density = density};
  spec.error_feedback = true;
  return spec;
}

core::Layout layout(int64_t elements) {
  return {{{"weight", 1, elements}}};
}

class SharedIndexSyncTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, SharedIndexSyncTest,
                         ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(SharedIndexSyncTest, AllRanksGetTheSameBitsInEveryRound) {
  constexpr int64_t kElements = 308;
  constexpr int kRounds = 4;
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  std::vector<collective::Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, 1, kTestDeadline);
  }
  for (const core::SharedIndexSpec& index :
       {core::SharedIndexSpec{.density = 0.1},
        core::SharedIndexSpec{.density = 0.1, .value_bits = 8},
        core::SharedIndexSpec{
            .density = 0.2, .value_bits = 4, .agreement = Agreement::kSketch, .block = 16}}) {
    std::vector<Floats> means(transports.size());
    on_all_ranks(world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      ASSERT_OK_AND_ASSIGN(const auto exchange,
                           MeanExchange::make(shared(index), layout(kElements), communicators[r]));
      EXPECT_EQ(exchange->schedule(), core::Schedule::kSharded);
      for (int round = 0; round < kRounds; ++round) {
        Floats v = compress::gauss(static_cast<uint64_t>(10 * rank + round), kElements);
        ASSERT_OK(exchange->mean(v, v));
        means[r].insert(means[r].end(), v.begin(), v.end());
      }
      EXPECT_EQ(exchange->stats().rounds, kRounds);
      EXPECT_GT(exchange->stats().residual_norm, 0);
      EXPECT_GT(exchange->stats().compression_error_ratio, 0);
    });
    for (const Floats& mean : means) {
      EXPECT_TRUE(mean == means[0]);
    }
  }
  laconic::testing::finish_all(transports);
}

TEST(SharedIndexSyncFailureTest, FailedRoundLeavesTheVectorAndCountsForNothing) {
  collective::InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  ASSERT_OK_AND_ASSIGN(const auto exchange,
                       MeanExchange::make(shared({.density = 0.1}), layout(100), communicator));
  communicator.abort(absl::CancelledError("stop"));
  Floats v = compress::gauss(1, 100);
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THAT(exchange->mean(v, v), StatusIs(absl::StatusCode::kCancelled, "stop"));
    EXPECT_TRUE(v == compress::gauss(1, 100));
    EXPECT_EQ(exchange->stats().rounds, 0);
  }
}

TEST(SharedIndexSyncFailureTest, IsRefusedBesideACodecHalfResidualsAndEf21) {
  collective::InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  core::ExchangeSpec with_codec = shared({.density = 0.1});
  with_codec.codec = {.kind = core::CodecKind::kQuantize, .bits = 8};
  core::ExchangeSpec in_half = shared({.density = 0.1});
  in_half.half_residuals = true;
  core::ExchangeSpec ef21 = shared({.density = 0.1});
  ef21.feedback = core::FeedbackForm::kEf21;
  core::ExchangeSpec star = shared({.density = 0.1});
  star.schedule = core::Schedule::kStar;
  for (const core::ExchangeSpec& spec : {with_codec, in_half, ef21, star}) {
    EXPECT_EQ(MeanExchange::make(spec, layout(100), communicator).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

// What `ranks` get in each of the rounds, and the exchanges' last words on why. Rank i gives
// `common` of the one vector of all and the rest of its own, for kGiven rounds, then nothing.
class OverlapTest : public ::testing::Test {
 protected:
  static constexpr int64_t kElements = 4096;
  static constexpr int kGiven = 12;

  struct Course {
    std::vector<Floats> means;             // of rank 0, one a round
    std::vector<RoundDecision> decisions;  // likewise
    std::vector<int64_t> bytes;            // payload that rank 0 sent, so far
    Floats given = Floats(kElements);      // all ranks, all rounds, over the number of ranks
    bool alike = true;                     // all ranks got the same bits
  };

  static Floats vector_of(int rank, int round, double common) {
    if (round >= kGiven) {
      return Floats(kElements);
    }
    const auto seed = static_cast<uint64_t>(round);
    Floats v = compress::gauss(1000 + seed, kElements);
    const Floats own = compress::gauss(2000 + 50 * static_cast<uint64_t>(rank) + seed, kElements);
    for (size_t i = 0; i < v.size(); ++i) {
      v[i] = static_cast<float>(common * v[i] + (1 - common) * own[i]);
    }
    return v;
  }

  // restart: the round before which every exchange is saved and a new one goes on; 0: none.
  static Course run(int ranks, int rounds, double common, int restart = 0) {
    collective::InProcessNetwork network(ranks);
    Transports transports = laconic::testing::in_process_world(network, ranks);
    Course course;
    std::vector<std::vector<Floats>> means(static_cast<size_t>(ranks));
    on_all_ranks(ranks, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      collective::Communicator communicator(*transports[r], 1, kTestDeadline);
      const core::ExchangeSpec spec = shared({.density = 0.05, .by_overlap = true});
      ASSERT_OK_AND_ASSIGN(auto exchange,
                           MeanExchange::make(spec, layout(kElements), communicator));
      for (int round = 0; round < rounds; ++round) {
        if (restart > 0 && round == restart) {
          core::StateWriter writer;
          exchange->save(writer);
          const std::vector<uint8_t> state = std::move(writer).take();
          ASSERT_OK_AND_ASSIGN(exchange, MeanExchange::make(spec, layout(kElements), communicator));
          ASSERT_OK_AND_ASSIGN(core::StateReader reader, core::StateReader::open(state));
          ASSERT_OK(exchange->restore(reader));
        }
        Floats v = vector_of(rank, round, common);
        ASSERT_OK(exchange->mean(v, v));
        means[r].push_back(v);
        if (rank == 0) {
          course.decisions.push_back(exchange->stats().decision);
          course.bytes.push_back(communicator.bytes().payload_sent);
        }
      }
    });
    course.alike = std::ranges::all_of(means, [&](const auto& one) { return one == means[0]; });
    course.means = means[0];
    for (int rank = 0; rank < ranks; ++rank) {
      for (int round = 0; round < kGiven; ++round) {
        const Floats v = vector_of(rank, round, common);
        for (size_t i = 0; i < v.size(); ++i) {
          course.given[i] += v[i] / static_cast<float>(ranks);
        }
      }
    }
    return course;
  }
};

TEST_F(OverlapTest, RanksThatAreAlikeGoOverToSharedElementsForFewerBytes) {
  const Course course = run(/*ranks=*/6, /*rounds=*/16, /*common=*/0.9);
  EXPECT_TRUE(course.alike);
  for (size_t round = 0; round < 16; ++round) {
    const bool shared_by_then = round >= kOverlapEvery;
    EXPECT_EQ(course.decisions[round].reason,
              shared_by_then ? RoundReason::kOverlap : RoundReason::kEveryRound);
  }
  EXPECT_GT(course.decisions[15].overlap, 0.6);
  const int64_t own = course.bytes[6] - course.bytes[5];
  // A leader's round sends more than another's: six in a row are a fair sample.
  const int64_t after = (course.bytes[15] - course.bytes[9]) / 6;
  EXPECT_LT(after, own / 2);
}

TEST_F(OverlapTest, WhatWasOwedBeforeIsSentAfterwards) {
  const Course course = run(6, /*rounds=*/400, 0.9);
  ASSERT_EQ(course.decisions.back().reason, RoundReason::kOverlap);
  Floats got(kElements);
  for (const Floats& mean : course.means) {
    for (size_t i = 0; i < got.size(); ++i) {
      got[i] += mean[i];
    }
  }
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], course.given[i], 1e-4) << i;
  }
}

TEST_F(OverlapTest, UnlikeRanksKeepTheirOwn) {
  const Course course = run(6, 24, /*common=*/0.0);
  EXPECT_TRUE(course.alike);
  for (const RoundDecision& decision : course.decisions) {
    EXPECT_EQ(decision.reason, RoundReason::kEveryRound);
  }
  EXPECT_LT(course.decisions[7].overlap, 0.15);  // the density, by chance
}

TEST_F(OverlapTest, TwoRanksHaveNothingToGain) {
  EXPECT_EQ(run(2, 16, /*common=*/1.0).decisions.back().reason, RoundReason::kEveryRound);
  EXPECT_EQ(run(1, 16, /*common=*/1.0).decisions.back().reason, RoundReason::kEveryRound);
}

TEST_F(OverlapTest, GoesOnFromItsStateOnEitherSideOfTheChange) {
  const Course whole = run(6, 20, 0.9);
  ASSERT_EQ(whole.decisions.back().reason, RoundReason::kOverlap);
  for (const int restart : {5, 11}) {
    const Course course = run(6, 20, 0.9, restart);
    EXPECT_TRUE(course.means == whole.means) << restart;
    EXPECT_TRUE(course.decisions == whole.decisions) << restart;
  }
}

// A toy that separates the schemes: rank i's loss is |x - t_i|^2 / 2 in 4096 dimensions, the t_i
// alike but for a share `unlike` of their energy. 1 % is sent, with error feedback.
struct Descent {
  double unlike = 0;
  int steps = 0;
  float rate = 0;
};

std::vector<Floats> targets_of(const Descent& descent, int ranks, int64_t elements) {
  std::vector<Floats> targets;
  for (int rank = 0; rank < ranks; ++rank) {
    Floats target = compress::gauss(7, elements);
    const Floats own = compress::gauss(100 + static_cast<uint64_t>(rank), elements);
    for (size_t i = 0; i < target.size(); ++i) {
      target[i] = static_cast<float>(std::sqrt(1 - descent.unlike)) * target[i] +
                  static_cast<float>(std::sqrt(descent.unlike)) * own[i];
    }
    targets.push_back(target);
  }
  return targets;
}

// Distance to the best x after the descent over that before it, squared: loss over the best one.
double relative_loss(const core::ExchangeSpec& spec, const Descent& descent) {
  constexpr int kRanks = 4;
  constexpr int64_t kElements = 4096;
  const std::vector<Floats> targets = targets_of(descent, kRanks, kElements);
  collective::InProcessNetwork network(kRanks);
  Transports transports = laconic::testing::in_process_world(network, kRanks);
  std::vector<Floats> ends(kRanks);
  on_all_ranks(kRanks, [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    collective::Communicator communicator(*transports[r], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto exchange,
                         MeanExchange::make(spec, layout(kElements), communicator));
    Floats x(kElements);
    Floats gradient(kElements);
    for (int step = 0; step < descent.steps; ++step) {
      for (size_t i = 0; i < x.size(); ++i) {
        gradient[i] = x[i] - targets[r][i];
      }
      ASSERT_OK(exchange->mean(gradient, gradient));
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] -= descent.rate * gradient[i];
      }
    }
    ends[r] = x;
  });
  double start = 0;
  double end = 0;
  for (size_t i = 0; i < ends[0].size(); ++i) {
    double best = 0;
    for (const Floats& target : targets) {
      best += static_cast<double>(target[i]) / kRanks;
    }
    start += best * best;
    end += std::pow(static_cast<double>(ends[0][i]) - best, 2);
  }
  return end / start;
}

class SharedIndexLossTest : public ::testing::Test {
 protected:
  void descend(const Descent& descent) {
    top_k_ = relative_loss(plain_top_k(0.01), descent);
    leader_ = relative_loss(shared({.density = 0.01}), descent);
    sketch_ = relative_loss(shared({.density = 0.01, .agreement = Agreement::kSketch, .block = 16}),
                            descent);
    RecordProperty(absl::StrCat("unlike_", 100 * descent.unlike, "_steps_", descent.steps),
                   absl::StrCat("top-k ", top_k_, ", leader ", leader_, ", sketch ", sketch_));
  }
  double top_k_ = 0;
  double leader_ = 0;
  double sketch_ = 0;
};

// Few rounds, so each element is sent about twice: there what one message carries counts.
TEST_F(SharedIndexLossTest, FallsBehindTopKInFewRoundsAlsoWhereRanksAreAlike) {
  for (const double unlike : {0.02, 1.0}) {
    descend({.unlike = unlike, .steps = 200, .rate = 0.02F});
    EXPECT_GT(leader_, 1.5 * top_k_) << unlike;
  }
}

// Many rounds with a small step: plain top-k adds up one rank's large elements without what the
// others have there, which a common support does not.
TEST_F(SharedIndexLossTest, OvertakesTopKInManyRoundsOfUnlikeRanks) {
  descend({.unlike = 0.02, .steps = 800, .rate = 0.005F});
  EXPECT_LT(leader_, 1.5 * top_k_);
  descend({.unlike = 1, .steps = 800, .rate = 0.005F});
  EXPECT_LT(leader_, 0.2 * top_k_);
  EXPECT_LT(sketch_, 0.2 * top_k_);
}

}  // namespace
}  // namespace laconic::sync
