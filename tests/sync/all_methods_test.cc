// What every sync method must hold.
#include "absl/strings/str_cat.h"
#include "tests/sync/method_world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::Floats;
using ::laconic::testing::method_cases;
using ::laconic::testing::MethodCase;
using ::laconic::testing::MethodWorld;
using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

constexpr float kRate = 0.1F;

int64_t steps_per_round(const MethodCase& method) {
  return std::max(method.spec.rounds.inner_steps, method.spec.lazy.inner_steps);
}

class AllMethodsTest : public ::testing::TestWithParam<MethodCase> {};
INSTANTIATE_TEST_SUITE_P(Methods, AllMethodsTest, ::testing::ValuesIn(method_cases()),
                         ::laconic::testing::method_name);

TEST_P(AllMethodsTest, RanksAreEqualBitForBitInEveryWorld) {
  for (const int world_size : {1, 2, 3, 7}) {
    SCOPED_TRACE(world_size);
    MethodWorld world(GetParam().spec, world_size);
    const Floats start = world.model(0).parameters;
    for (int step = 1; step <= 8; ++step) {
      ASSERT_EQ(world.step(kRate, step == 8), 0);
      if (world.method(0).parameters_are_shared()) {
        world.expect_equal_parameters();
      }
    }
    EXPECT_TRUE(world.method(0).parameters_are_shared());
    EXPECT_FALSE(world.model(0).parameters == start);
    EXPECT_EQ(world.method(0).stats().rounds, 8 / steps_per_round(GetParam()));
  }
}

TEST_P(AllMethodsTest, RestoredRunGoesOnBitForBitAsOneThatWasNeverInterrupted) {
  for (const int world_size : {1, 3}) {
    for (const int stop_after : {1, 3, 4}) {
      SCOPED_TRACE(absl::StrCat(world_size, " ranks, stopped after step ", stop_after));
      MethodWorld whole(GetParam().spec, world_size);
      MethodWorld cut(GetParam().spec, world_size);
      for (int step = 1; step <= 9; ++step) {
        ASSERT_EQ(whole.step(kRate, step == 9), 0);
        ASSERT_EQ(cut.step(kRate, step == 9), 0);
        if (step == stop_after) {
          cut.restart();
        }
        for (size_t rank = 0; rank < whole.size(); ++rank) {
          ASSERT_TRUE(cut.model(rank).parameters == whole.model(rank).parameters)
              << "step " << step;
          ASSERT_EQ(cut.method(rank).digest(), whole.method(rank).digest());
          ASSERT_EQ(cut.method(rank).stats().decision, whole.method(rank).stats().decision);
        }
      }
      EXPECT_EQ(cut.method(0).stats().rounds, whole.method(0).stats().rounds);
      EXPECT_EQ(*cut.method(0).save(), *whole.method(0).save());
    }
  }
}

TEST_P(AllMethodsTest, RoundThatFailedAtAnyMessageIsTriedAgainWithTheSameBits) {
  constexpr int kRanks = 3;
  constexpr int kSteps = 4;
  MethodWorld undisturbed(GetParam().spec, kRanks);
  std::vector<Floats> expected;
  for (int step = 0; step < kSteps; ++step) {
    ASSERT_EQ(undisturbed.step(kRate), 0);
    expected.push_back(undisturbed.model(0).parameters);
  }
  int index = 0;
  for (; index < 100; ++index) {
    SCOPED_TRACE(absl::StrCat("message ", index));
    MethodWorld world(GetParam().spec, kRanks);
    // The second round, for methods with two steps between rounds.
    const int fails_in = static_cast<int>(2 * steps_per_round(GetParam())) - 1;
    for (int step = 0; step < fails_in; ++step) {
      ASSERT_EQ(world.step(kRate), 0);
    }
    const testing::SmallModel before = world.model(0);
    world.connect(index);
    if (world.step(kRate) < kRanks) {
      break;  // Some rank has fewer messages than that.
    }
    EXPECT_TRUE(world.model(0).parameters == before.parameters);
    world.connect(index / 2);
    ASSERT_EQ(world.step(kRate), kRanks);
    world.connect(-1);
    for (int step = fails_in; step < kSteps; ++step) {
      ASSERT_EQ(world.step(kRate), 0);
      ASSERT_TRUE(world.model(0).parameters == expected[static_cast<size_t>(step)]);
    }
  }
  EXPECT_GE(index, 2);
}

TEST_P(AllMethodsTest, StateOfAnotherRankWorldOrMethodIsRefused) {
  MethodWorld world(GetParam().spec, 3);
  MethodWorld smaller(GetParam().spec, 2);
  MethodWorld other({}, 3);
  core::ExchangeSpec lazy_spec;
  lazy_spec.method = core::Method::kLazy;
  MethodWorld lazy(lazy_spec, 3);
  const std::vector<uint8_t> state = *world.method(0).save();
  EXPECT_THAT(world.method(1).restore(state),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 0 of 3")));
  EXPECT_THAT(smaller.method(0).restore(state),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 0 of 2")));
  MethodWorld& unlike = GetParam().spec.method == core::Method::kDense ? lazy : other;
  EXPECT_THAT(unlike.method(0).restore(state),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("its method is")));
  EXPECT_OK(world.method(0).restore(state));
}

TEST_P(AllMethodsTest, ChangedOrShortenedStateIsRefused) {
  MethodWorld world(GetParam().spec, 1);
  ASSERT_EQ(world.step(kRate), 0);
  const std::vector<uint8_t> state = *world.method(0).save();
  for (size_t at = 0; at < state.size(); at += 97) {
    std::vector<uint8_t> bad = state;
    bad[at] ^= 0x10;
    EXPECT_THAT(world.method(0).restore(bad), StatusIs(absl::StatusCode::kDataLoss, ::testing::_))
        << "byte " << at;
    EXPECT_THAT(world.method(0).restore(std::span(state).first(at)),
                StatusIs(absl::StatusCode::kDataLoss, ::testing::_))
        << at << " bytes";
  }
}

}  // namespace
}  // namespace laconic::sync
