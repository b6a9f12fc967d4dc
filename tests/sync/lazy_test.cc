#include "common/sync/lazy.h"

#include <limits>

#include "tests/sync/method_world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::Floats;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::MethodWorld;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 64};
constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = 0.1};

core::ExchangeSpec lazy(const core::CodecSpec& codec, const core::LazySpec& rule) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kLazy;
  spec.schedule = core::Schedule::kAllGather;
  spec.codec = codec;
  spec.error_feedback = codec.lossy();
  spec.feedback = rule.silence == core::Silence::kCarry ? core::FeedbackForm::kResidual
                                                        : core::FeedbackForm::kEf21;
  spec.lazy = rule;
  return spec;
}

// 3PC (ICML 2022), (18): strictly above zeta times the step.
TEST(LazyRuleTest, ClagSendsWhatChangedMoreThanZetaTimesTheLastStep) {
  const core::LazySpec spec = {.threshold = 4, .age_max = 3};
  EXPECT_EQ(decide(spec, {.rounds = 1, .change = 4, .step = 1}), RoundReason::kSmallChange);
  EXPECT_EQ(decide(spec, {.rounds = 1, .change = 4.01, .step = 1}), RoundReason::kChanged);
  EXPECT_EQ(decide(spec, {.rounds = 0, .change = 0, .step = 0}), RoundReason::kFirstRounds);
}

TEST(LazyRuleTest, MessageThatWasUsedAgeMaxTimesIsSentAnew) {
  const core::LazySpec spec = {.threshold = 4, .age_max = 3};
  EXPECT_EQ(decide(spec, {.rounds = 9, .age = 2, .change = 1, .step = 1}),
            RoundReason::kSmallChange);
  EXPECT_EQ(decide(spec, {.rounds = 9, .age = 3, .change = 1, .step = 1}), RoundReason::kAged);
  EXPECT_EQ(decide({.threshold = 4, .age_max = 0}, {.rounds = 9, .change = 1, .step = 1}),
            RoundReason::kAged);
}

// LAQ (NeurIPS 2019), (7a) with D = 10 and f a mean: at least, not above.
TEST(LazyRuleTest, LaqWeighsTheMessageAgainstRecentMeansAndErrors) {
  const core::LazySpec spec = {.rule = core::LazyRule::kLaq, .threshold = 0.8, .age_max = 100};
  // 0.8 * 50 / 10 + 3 (1 + 2) = 13
  LazyEvidence evidence = {
      .rounds = 10, .message = 13, .error = 1, .error_of_last = 2, .mean_square_sum = 50};
  EXPECT_EQ(decide(spec, evidence), RoundReason::kChanged);
  evidence.message = 12.99;
  EXPECT_EQ(decide(spec, evidence), RoundReason::kSmallChange);
  evidence.rounds = 9;
  EXPECT_EQ(decide(spec, evidence), RoundReason::kFirstRounds);
}

TEST(LazyTest, WithThresholdZeroIsEf21BitForBit) {
  core::ExchangeSpec ef21 = lazy(kTopK, {});
  ef21.method = core::Method::kDense;
  MethodWorld always(lazy(kTopK, {.threshold = 0}), 3);
  MethodWorld reference(ef21, 3);
  for (int step = 0; step < 12; ++step) {
    ASSERT_EQ(always.step(0.1F), 0);
    ASSERT_EQ(reference.step(0.1F), 0);
    ASSERT_TRUE(always.model(0).parameters == reference.model(0).parameters) << step;
    EXPECT_EQ(always.method(0).stats().decision.senders, 3);
  }
}

// Two ranks, by hand: rank 0's gradient changes, rank 1's does not.
TEST(LazyTest, SilentRankCountsWithItsLastMessage) {
  MethodWorld world(lazy({}, {.threshold = 0, .age_max = 10}), 2);
  const auto round = [&](float of_rank_0, float of_rank_1) {
    on_all_ranks(2, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      world.model(r).gradients.assign(308, rank == 0 ? of_rank_0 : of_rank_1);
      ASSERT_OK(world.method(r).reduce_gradients(world.model(r).view()));
    });
    EXPECT_TRUE(world.model(0).gradients == world.model(1).gradients);
    return world.model(0).gradients;
  };
  EXPECT_EQ(round(2, 4), Floats(308, 3));
  // |v - h|^2 = 0 is not above 0: rank 1 is silent, its 4 counts.
  EXPECT_EQ(round(6, 4), Floats(308, 5));
  EXPECT_EQ(world.method(0).stats().decision,
            (RoundDecision{.reason = RoundReason::kChanged, .senders = 1}));
  EXPECT_EQ(world.method(1).stats().decision,
            (RoundDecision{.reason = RoundReason::kSmallChange, .senders = 1}));
}

// Ours: what a silent rank has waits in e and is added to its next message.
TEST(LazyTest, CarriedChangeIsAddedToTheNextMessage) {
  MethodWorld world(lazy({}, {.silence = core::Silence::kCarry, .threshold = 1.5}), 1);
  std::vector<float> means;
  std::vector<RoundReason> reasons;
  // Sent at first; |4|^2 is not above 1.5 times the mean |v|^2, |4|^2 itself; |4 + 4|^2 is; |2|^2
  // is not; |2 + 8|^2 is.
  for (const float gradient : {4.0F, 4.0F, 4.0F, 2.0F, 8.0F}) {
    world.model(0).gradients.assign(308, gradient);
    ASSERT_OK(world.method(0).reduce_gradients(world.model(0).view()));
    means.push_back(world.model(0).gradients[7]);
    reasons.push_back(world.method(0).stats().decision.reason);
  }
  EXPECT_EQ(means, (std::vector<float>{4, 0, 8, 0, 10}));
  EXPECT_EQ(reasons, (std::vector<RoundReason>{RoundReason::kFirstRounds, RoundReason::kSmallChange,
                                               RoundReason::kChanged, RoundReason::kSmallChange,
                                               RoundReason::kChanged}));
}

// If all began at once, all would be silent in every second round.
TEST(LazyTest, RanksThatCarryTakeTurns) {
  MethodWorld world(lazy({}, {.silence = core::Silence::kCarry, .threshold = 1.5}), 4);
  for (int round = 0; round < 6; ++round) {
    on_all_ranks(4, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      world.model(r).gradients.assign(308, 2.0F);
      ASSERT_OK(world.method(r).reduce_gradients(world.model(r).view()));
    });
    EXPECT_EQ(world.method(0).stats().decision.senders, 2) << round;
    // Two of four send; from the second round on what they have of two rounds.
    EXPECT_EQ(world.model(3).gradients[7], round == 0 ? 1.0F : 2.0F) << round;
  }
}

TEST(LazyTest, CarryingWithThresholdZeroIsErrorFeedbackBitForBit) {
  core::ExchangeSpec feedback = lazy(kTopK, {});
  feedback.method = core::Method::kDense;
  feedback.feedback = core::FeedbackForm::kResidual;
  MethodWorld always(lazy(kTopK, {.silence = core::Silence::kCarry, .threshold = 0}), 3);
  MethodWorld reference(feedback, 3);
  for (int step = 0; step < 12; ++step) {
    ASSERT_EQ(always.step(0.1F), 0);
    ASSERT_EQ(reference.step(0.1F), 0);
    ASSERT_TRUE(always.model(0).parameters == reference.model(0).parameters) << step;
  }
}

TEST(LazyTest, SilentRoundSendsOneByteAndAHeaderToEachPeer) {
  // Nothing is above a million times the last step, and the ages do not end here.
  MethodWorld world(lazy(kInt8, {.threshold = 1e6, .age_max = 100}), 3);
  ASSERT_EQ(world.step(0.1F), 0);
  const int64_t before = world.bytes(0).sent;
  ASSERT_EQ(world.step(0.1F), 0);
  EXPECT_EQ(world.method(0).stats().decision,
            (RoundDecision{.reason = RoundReason::kSmallChange, .senders = 0}));
  EXPECT_EQ(world.bytes(0).sent - before, 2 * (1 + collective::kFrameHeaderBytes));
}

TEST(LazyTest, RankIsHeardAtLeastEveryAgeMaxRounds) {
  MethodWorld world(lazy(kInt8, {.threshold = 1e6, .age_max = 3}), 2);
  std::vector<RoundReason> reasons;
  for (int step = 0; step < 9; ++step) {
    ASSERT_EQ(world.step(0.1F), 0);
    reasons.push_back(world.method(1).stats().decision.reason);
  }
  const RoundReason silent = RoundReason::kSmallChange;
  EXPECT_EQ(reasons, (std::vector<RoundReason>{RoundReason::kFirstRounds, silent, silent, silent,
                                               RoundReason::kAged, silent, silent, silent,
                                               RoundReason::kAged}));
}

// EF21-SGDM's estimate in front of the rule: v <- b v + (1 - b) g, v = g at first.
TEST(LazyTest, MomentumAveragesTheGradients) {
  MethodWorld world(lazy({}, {.threshold = 0, .momentum = 0.75}), 1);
  std::vector<float> means;
  for (const float gradient : {4.0F, 8.0F, 8.0F}) {
    world.model(0).gradients.assign(308, gradient);
    ASSERT_OK(world.method(0).reduce_gradients(world.model(0).view()));
    means.push_back(world.model(0).gradients[7]);
  }
  EXPECT_EQ(means, (std::vector<float>{4, 5, 5.75F}));
}

// The drift of H steps, then DiLoCo's outer step, as LocalTakesTheOuterNesterovStep has it.
TEST(LazyTest, WithInnerStepsTakesTheOuterStepAlongTheMeanDrift) {
  core::ExchangeSpec spec = lazy({}, {.threshold = 0, .inner_steps = 2});
  spec.outer_rate = 0.5;
  spec.outer_momentum = 0.5;
  MethodWorld world(spec, 2);
  on_all_ranks(2, [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    Floats& theta = world.model(r).parameters;
    const auto step_to = [&](float value) {
      theta.assign(308, value);
      ASSERT_OK(world.method(r).end_step(world.model(r).view(), false));
    };
    step_to(7);
    EXPECT_FALSE(world.method(r).parameters_are_shared());
    step_to(rank == 0 ? -1.0F : -3.0F);  // D = 2, m = 2: 0 - 0.5 (2 + 1)
    EXPECT_EQ(theta, Floats(308, -1.5F));
    step_to(7);
    step_to(-2.5F);  // D = 1, m = 2: -1.5 - 0.5 (1 + 1)
    EXPECT_EQ(theta, Floats(308, -2.5F));
  });
}

// Unlike ranks and a constant step: EF21 gets there, and so does the lazy form, with fewer
// messages.
TEST(LazyTest, ReachesTheOptimumOfUnlikeRanksWithFewerMessages) {
  for (const core::LazySpec& rule :
       {core::LazySpec{.threshold = 8, .age_max = 10},
        core::LazySpec{.rule = core::LazyRule::kLaq, .threshold = 0.8, .age_max = 10}}) {
    MethodWorld world(lazy(kInt8, rule), 3);
    int64_t silent = 0;
    constexpr int kSteps = 400;
    const double start = world.distance_from_best();
    for (int step = 0; step < kSteps; ++step) {
      ASSERT_EQ(world.step(0.1F), 0);
      silent += 3 - world.method(0).stats().decision.senders;
    }
    RecordProperty("silent_share", std::to_string(static_cast<double>(silent) / (3.0 * kSteps)));
    EXPECT_LT(world.distance_from_best(), 1e-4 * start);
    EXPECT_GT(static_cast<double>(silent), 0.3 * 3 * kSteps);
  }
}

TEST(LazyTest, SpecOutsideItsRangesIsRefused) {
  collective::InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  collective::Communicator communicator(*transports[0], 1, kTestDeadline);
  const auto expect_refused = [&](const core::ExchangeSpec& spec, const char* text) {
    EXPECT_THAT(make_sync_method(spec, laconic::testing::small_layout(), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect_refused(lazy({}, {.threshold = -1}), "threshold is -1");
  expect_refused(lazy({}, {.threshold = std::numeric_limits<double>::quiet_NaN()}),
                 "threshold is nan");
  expect_refused(lazy({}, {.age_max = -1}), "age_max is -1");
  expect_refused(lazy({}, {.silence = core::Silence::kCarry, .rule = core::LazyRule::kLaq}),
                 "goes with the rule CLAG");
  expect_refused(lazy({}, {.momentum = 1}), "momentum is 1");
  expect_refused(lazy({}, {.inner_steps = -1}), "inner_steps is -1");
  core::ExchangeSpec bad = lazy(kInt8, {});
  bad.schedule = core::Schedule::kSharded;
  expect_refused(bad, "schedule sharded");
  bad = lazy(kInt8, {});
  bad.feedback = core::FeedbackForm::kResidual;
  expect_refused(bad, "feedback EF21 or none");
  bad = lazy(kInt8, {});
  bad.outer_rate = 0;
  expect_refused(bad, "outer_rate is 0");
  bad = lazy({.kind = core::CodecKind::kQuantize, .bits = 3}, {});
  EXPECT_THAT(make_sync_method(bad, laconic::testing::small_layout(), communicator),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  expect_refused(lazy({.kind = core::CodecKind::kRandK, .density = 0.1, .scaled = true}, {}),
                 "scaled");
}

TEST(LazyTest, NanInTheGradientsIsRefusedBeforeItIsSent) {
  MethodWorld world(lazy(kInt8, {}), 1);
  world.model(0).gradients[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(world.method(0).reduce_gradients(world.model(0).view()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("diverged at step 1: element 5 of the gradients of rank 0")));
}

// A peer that speaks another tongue: a dense rank's payload is no lazy message.
TEST(LazyTest, MessageThatIsNeitherSilenceNorAPayloadIsDataLoss) {
  collective::InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const auto exchange,
                         MeanExchange::make({}, laconic::testing::small_layout(), communicator));
    testing::SmallModel model(rank);
    if (rank == 0) {
      ASSERT_OK_AND_ASSIGN(
          const auto method,
          make_sync_method(lazy(kInt8, {}), laconic::testing::small_layout(), communicator));
      ASSERT_OK(method->begin(model.view()));
      EXPECT_THAT(method->reduce_gradients(model.view()),
                  StatusIs(absl::StatusCode::kDataLoss,
                           AllOf(HasSubstr("rank 1"), HasSubstr("begins with 7"))));
    } else {
      ASSERT_OK(exchange->share_from_rank_0(model.parameters));
      EXPECT_OK(exchange->gather(collective::Payload(std::vector<uint8_t>{7, 0}), 1000).status());
    }
  });
}

}  // namespace
}  // namespace laconic::sync
