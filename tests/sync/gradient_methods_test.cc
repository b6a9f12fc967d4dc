// The methods ef21, power_sgd and demo: rounds by hand, convergence, and what they refuse.
#include <limits>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "common/core/method_sizes.h"
#include "common/sync/demo.h"
#include "common/sync/power_sgd.h"
#include "tests/sync/method_world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::Floats;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::MethodWorld;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::small_layout;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::AllOf;
using ::testing::HasSubstr;

core::ExchangeSpec ef21(double momentum) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kEf21;
  spec.codec = {.kind = core::CodecKind::kTopK, .bits = 32, .density = 0.1};
  spec.error_feedback = true;
  spec.feedback = core::FeedbackForm::kEf21;
  spec.ef21_momentum = momentum;
  return spec;
}

core::ExchangeSpec power_sgd(int32_t rank, int64_t dense_steps) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kPowerSgd;
  spec.power_sgd = {.rank = rank, .dense_steps = dense_steps};
  return spec;
}

core::ExchangeSpec demo(const core::DemoSpec& demo_spec) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kDemo;
  spec.demo = demo_spec;
  return spec;
}

// The gradient that every rank has after a round in which rank r was given gradients[r].
Floats round(MethodWorld& world, const std::vector<Floats>& gradients) {
  on_all_ranks(static_cast<int>(world.size()), [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    world.model(r).gradients = gradients[r];
    ASSERT_OK(world.method(r).reduce_gradients(world.model(r).view()));
  });
  for (size_t r = 1; r < world.size(); ++r) {
    EXPECT_TRUE(world.model(r).gradients == world.model(0).gradients);
  }
  return world.model(0).gradients;
}

Floats gradient_of(int rank, int step) {
  core::Random random(5, static_cast<uint64_t>(1000 * rank + step));
  Floats values(308);
  for (float& value : values) {
    value = static_cast<float>(random.uniform() * 2 - 1);
  }
  return values;
}

// Fatkhullin et al. 2023, algorithm 1: with eta = 1 it is EF21.
TEST(Ef21MomentumTest, WithoutMomentumIsEf21BitForBit) {
  core::ExchangeSpec plain = ef21(0);
  plain.method = core::Method::kDense;
  MethodWorld with(ef21(0), 3);
  MethodWorld without(plain, 3);
  for (int step = 0; step < 6; ++step) {
    ASSERT_EQ(with.step(0.1F), 0);
    ASSERT_EQ(without.step(0.1F), 0);
    EXPECT_TRUE(with.model(0).parameters == without.model(0).parameters);
  }
}

// Lines 6 to 9 by hand: one element stands out, and top-k sends it exactly.
TEST(Ef21MomentumTest, SendsWhatChangedOfTheMomentumEstimate) {
  core::ExchangeSpec spec = ef21(0.75);
  spec.codec.density = 1.0 / 308;
  MethodWorld world(spec, 2);
  Floats gradient(308);
  const auto mean_at_7 = [&](float of_rank_0, float of_rank_1) {
    Floats a(308);
    Floats b(308);
    a[7] = of_rank_0;
    b[7] = of_rank_1;
    return round(world, {a, b})[7];
  };
  EXPECT_EQ(mean_at_7(4, 8), 6);     // v = g
  EXPECT_EQ(mean_at_7(8, 8), 6.5F);  // v_0 = 0.75 * 4 + 0.25 * 8 = 5
}

// What the momentum is for: gradients that are a constant and noise. The mean that all ranks keep
// ends nearer to the constant.
TEST(Ef21MomentumTest, AveragesNoiseThatPlainEf21PassesOn) {
  const auto error = [](double momentum) {
    MethodWorld world(ef21(momentum), 2);
    double squares = 0;
    for (int step = 0; step < 200; ++step) {
      std::vector<Floats> gradients = {gradient_of(0, step), gradient_of(1, step)};
      for (Floats& gradient : gradients) {
        for (float& value : gradient) {
          value += 0.25F;
        }
      }
      const Floats mean = round(world, gradients);
      for (const float value : mean) {
        squares += step < 100 ? 0 : std::pow(static_cast<double>(value) - 0.25, 2);
      }
    }
    return squares;
  };
  const double with = error(0.9);
  const double without = error(0);
  RecordProperty("error_with_over_without", std::to_string(with / without));
  EXPECT_LT(with, 0.25 * without);
}

TEST(Ef21MomentumTest, SpecOutsideItsRangesIsRefused) {
  collective::InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  const auto expect_refused = [&](const core::ExchangeSpec& spec, const char* text) {
    EXPECT_THAT(make_sync_method(spec, small_layout(), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect_refused(ef21(1), "momentum is 1");
  expect_refused(ef21(std::nan("")), "momentum is nan");
  core::ExchangeSpec bad = ef21(0.9);
  bad.feedback = core::FeedbackForm::kResidual;
  expect_refused(bad, "must be EF21");
  expect_refused(power_sgd(0, 0), "rank is 0");
  expect_refused(power_sgd(257, 0), "rank is 257");
  expect_refused(power_sgd(1, -1), "dense_steps is -1");
  bad = power_sgd(1, 0);
  bad.codec = {.kind = core::CodecKind::kQuantize, .bits = 8};
  expect_refused(bad, "compresses itself");
  bad = power_sgd(1, 0);
  bad.schedule = core::Schedule::kAllGather;
  expect_refused(bad, "schedule all_gather");
  expect_refused(demo({.momentum = 1}), "momentum is 1");
  expect_refused(demo({.chunk = 3}), "chunk is 3");
  expect_refused(demo({.chunk = 65}), "chunk is 65");
  expect_refused(demo({.chunk = 8, .kept = 17}), "kept is 17");
  expect_refused(demo({.kept = 0}), "kept is 0");
  expect_refused(demo({.taken = 0}), "taken is 0");
  bad = demo({});
  bad.schedule = core::Schedule::kSharded;
  expect_refused(bad, "schedule sharded");
}

// PowerSGD, algorithm 1: a mean of rank r is found in one round, up to float32 rounding, and no
// rank owes anything that the mean does not.
TEST(PowerSgdTest, MeanOfLowRankIsFoundInOneRound) {
  MethodWorld world(power_sgd(2, 0), 3);
  std::vector<Floats> gradients(3, Floats(308));
  Floats mean(308);
  for (size_t i = 0; i < 7; ++i) {
    for (size_t j = 0; j < 43; ++j) {
      const double u = static_cast<double>(i) - 3;
      const double v = std::cos(static_cast<double>(j));
      const double w = static_cast<double>(j % 5) - 1;
      for (size_t r = 0; r < 3; ++r) {
        const double value = u * v + static_cast<double>(r) * u * u * w;
        gradients[r][i * 43 + j] = static_cast<float>(value);
        mean[i * 43 + j] += static_cast<float>(value / 3);
      }
    }
  }
  const Floats found = round(world, gradients);
  for (size_t i = 0; i < mean.size(); ++i) {
    ASSERT_NEAR(found[i], mean[i], 2e-5) << i;  // |values| up to 60 in float32
  }
}

// Error feedback: what was applied and what is owed make up all that was given.
TEST(PowerSgdTest, AppliedPlusOwedIsAllThatWasGiven) {
  constexpr int kRanks = 2;
  MethodWorld world(power_sgd(1, 0), kRanks);
  std::vector<double> given(308);
  std::vector<double> applied(308);
  for (int step = 0; step < 20; ++step) {
    std::vector<Floats> gradients = {gradient_of(0, step), gradient_of(1, step)};
    for (size_t i = 0; i < 308; ++i) {
      given[i] += (static_cast<double>(gradients[0][i]) + static_cast<double>(gradients[1][i])) / 2;
    }
    const Floats mean = round(world, gradients);
    for (size_t i = 0; i < 308; ++i) {
      applied[i] += static_cast<double>(mean[i]);
    }
  }
  const auto owed = [&](size_t r) { return dynamic_cast<PowerSgd&>(world.method(r)).residual(); };
  for (size_t i = 0; i < 308; ++i) {
    const double left = (static_cast<double>(owed(0)[i]) + static_cast<double>(owed(1)[i])) / 2;
    // 20 rounds of float32 rounding of numbers up to 20.
    ASSERT_NEAR(applied[i] + left, given[i], 1e-4) << i;
  }
  EXPECT_EQ(owed(0)[307], 0);  // A vector is sent whole.
}

TEST(PowerSgdTest, FirstStepsAreTheDenseMean) {
  MethodWorld world(power_sgd(1, 2), 3);
  MethodWorld dense({}, 3);
  for (int step = 0; step < 3; ++step) {
    ASSERT_EQ(world.step(0.1F), 0);
    ASSERT_EQ(dense.step(0.1F), 0);
    EXPECT_EQ(world.model(0).parameters == dense.model(0).parameters, step < 2);
    EXPECT_EQ(world.method(0).stats().decision.reason,
              step < 2 ? RoundReason::kDenseWarmUp : RoundReason::kEveryRound);
  }
}

TEST(PowerSgdTest, SendsTwoAllReducesOfTheFactors) {
  constexpr int kRanks = 2;
  MethodWorld world(power_sgd(2, 0), kRanks);
  const int64_t floats = core::power_sgd_floats({.rank = 2}, small_layout());
  EXPECT_EQ(floats, 2 * (7 + 43) + 7);
  const int64_t before = world.bytes(0).payload_sent;
  ASSERT_EQ(world.step(0.1F), 0);
  EXPECT_EQ(world.bytes(0).payload_sent - before, 4 * floats);  // 2 (P-1)/P = 1
}

TEST(PowerSgdTest, QuadraticOfUnlikeRanksConvergesAsWithTheDenseMean) {
  MethodWorld world(power_sgd(2, 0), 3);
  MethodWorld dense({}, 3);
  const double start = world.distance_from_best();
  for (int step = 0; step < 400; ++step) {
    ASSERT_EQ(world.step(0.05F), 0);
    ASSERT_EQ(dense.step(0.05F), 0);
  }
  EXPECT_LT(world.distance_from_best(), 1e-4 * start);
  EXPECT_LT(dense.distance_from_best(), 1e-4 * start);
}

// arXiv 2411.19870: orthonormal, so the inverse is the transpose.
TEST(DemoTest, TransformIsUndoneByItsInverse) {
  for (const bool dct : {true, false}) {
    for (const int32_t chunk : {4, 16, 64}) {
      const std::vector<core::DemoBlock> blocks =
          core::demo_blocks({.chunk = chunk, .kept = 1}, small_layout());
      const BlockTransform transform(blocks, dct);
      const Floats in = gradient_of(0, chunk);
      Floats components(308);
      Floats back(308);
      transform.forward(in, components);
      transform.backward(components, back);
      double energy = 0;
      double energy_in = 0;
      for (size_t i = 0; i < 308; ++i) {
        ASSERT_NEAR(back[i], in[i], 1e-5);  // Sums of 64 float32 products, twice.
        energy += static_cast<double>(components[i]) * static_cast<double>(components[i]);
        energy_in += static_cast<double>(in[i]) * static_cast<double>(in[i]);
      }
      EXPECT_NEAR(energy, energy_in, 1e-4 * energy_in);
    }
  }
}

// A constant has one component, the first: sqrt(rows * columns) times it.
TEST(DemoTest, ConstantBlockHasOneComponent) {
  const core::Layout layout = {{{"weight", 4, 8}}};
  const std::vector<core::DemoBlock> blocks = core::demo_blocks({.chunk = 8, .kept = 1}, layout);
  ASSERT_EQ(blocks.size(), 1U);
  Floats components(32);
  BlockTransform(blocks, /*dct=*/true).forward(Floats(32, 2), components);
  EXPECT_NEAR(components[0], 2 * std::sqrt(32.0), 1e-5);
  for (size_t i = 1; i < 32; ++i) {
    EXPECT_NEAR(components[i], 0, 1e-5);
  }
}

TEST(DemoTest, BlocksCoverEveryElementOnceAndKeepTheirShare) {
  const core::Layout layout = {{{"weight", 65, 130}, {"bias", 1, 65}, {"one", 1, 1}}};
  std::vector<int> seen(static_cast<size_t>(layout.elements()));
  for (const core::DemoBlock& block : core::demo_blocks({.chunk = 64, .kept = 32}, layout)) {
    EXPECT_EQ(block.kept, block.rows * block.columns == 4096 ? 32 : 1);
    for (int64_t i = 0; i < block.rows; ++i) {
      for (int64_t j = 0; j < block.columns; ++j) {
        ++seen[static_cast<size_t>(block.begin + i * block.stride + j)];
      }
    }
  }
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

// Algorithm 1 in the identity basis, by hand: rank 0 sends place 3 as plus, rank 1 place 3 as minus
// and, in the round after, place 5.
TEST(DemoTest, MeanIsOverTheRanksThatSentAComponent) {
  const core::DemoSpec spec = {
      .momentum = 0.5, .chunk = 64, .kept = 1, .dct = false, .taken = 1, .sign = false};
  MethodWorld world(demo(spec), 2);
  // One block of 7 x 43 and one of 1 x 7: one component of each.
  Floats a(308);
  Floats b(308);
  a[3] = 8;
  a[4] = 6;
  b[3] = -8;
  Floats mean = round(world, {a, b});
  EXPECT_EQ(mean, Floats(308));  // (1 - 1) / 2
  b[3] = 0;
  b[5] = 1;
  mean = round(world, {Floats(308), b});
  Floats expected(308);
  expected[4] = 1;  // rank 0: 8 left with the message, half of 6 is the largest now
  expected[5] = 1;  // one contributor, not half of one
  EXPECT_EQ(mean, expected);
}

TEST(DemoTest, ZerosAreNotSent) {
  MethodWorld world(demo({.chunk = 16, .kept = 8}), 2);
  const int64_t before = world.bytes(0).payload_sent;
  EXPECT_EQ(round(world, {Floats(308), Floats(308)}), Floats(308));
  EXPECT_LE(world.bytes(0).payload_sent - before, 2);  // the count of one chunk
}

TEST(DemoTest, OptimizerGetsSignsOfOneSize) {
  MethodWorld world(demo({.chunk = 16, .kept = 8}), 3);
  for (const float value :
       round(world, {gradient_of(0, 0), gradient_of(1, 0), gradient_of(2, 0)})) {
    EXPECT_TRUE(value == 1 || value == -1 || value == 0) << value;
  }
}

// Steps of one size: with a falling step it comes as near as that, where ranks want the same. Where
// they do not, signs vote, and the vote is not the mean.
TEST(DemoTest, QuadraticConvergesWithAFallingStepWhereRanksAgree) {
  const auto distance = [](bool alike) {
    MethodWorld world(demo({.momentum = 0.9, .chunk = 16, .kept = 16}), 3);
    for (size_t rank = 1; alike && rank < world.size(); ++rank) {
      world.model(rank).target = world.model(0).target;
    }
    const double start = world.distance_from_best();
    for (int step = 0; step < 800; ++step) {
      EXPECT_EQ(world.step(0.1F / (1 + 0.05F * static_cast<float>(step))), 0);
    }
    return world.distance_from_best() / start;
  };
  EXPECT_LT(distance(/*alike=*/true), 0.05);
  EXPECT_GT(distance(/*alike=*/false), 0.2);
}

TEST(DemoTest, HostileMessageIsDataLossThatNamesItsRank) {
  const core::ExchangeSpec spec = demo({.chunk = 16, .kept = 8});
  // A count above what may be kept; signs missing; a bit behind the last sign.
  const std::vector<std::vector<uint8_t>> messages = {{0xFF, 0xFF, 0xFF}, {}, {1, 0}, {0, 0, 0, 0}};
  for (const std::vector<uint8_t>& message : messages) {
    collective::InProcessNetwork network(2);
    Transports transports = laconic::testing::in_process_world(network, 2);
    on_all_ranks(2, [&](int rank) {
      collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1,
                                            kTestDeadline);
      testing::SmallModel model(rank);
      if (rank == 0) {
        ASSERT_OK_AND_ASSIGN(const auto method,
                             make_sync_method(spec, small_layout(), communicator));
        ASSERT_OK(method->begin(model.view()));
        model.gradients = gradient_of(0, 0);
        EXPECT_THAT(method->reduce_gradients(model.view()),
                    StatusIs(absl::StatusCode::kDataLoss, HasSubstr("rank 1")));
        EXPECT_TRUE(model.gradients == gradient_of(0, 0));
      } else {
        ASSERT_OK_AND_ASSIGN(const auto exchange,
                             MeanExchange::make({}, small_layout(), communicator));
        ASSERT_OK(exchange->share_from_rank_0(model.parameters));
        EXPECT_OK(exchange->gather(collective::Payload(message), 100'000).status());
      }
    });
  }
}

}  // namespace
}  // namespace laconic::sync
