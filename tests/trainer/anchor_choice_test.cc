// Which rank is most like all, by what the ranks tell each other.
#include "worker/trainer/anchor_choice.h"

#include <gtest/gtest.h>

#include "tests/collective/world.h"
#include "tests/testing/status_matchers.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::WorldKind;

// c |x|^2 / 2 + b x.
class Bowl final : public convex::Objective {
 public:
  Bowl(double curvature, double slope) : curvature_(curvature), slope_(slope) {}
  int64_t dimension() const override { return 50; }
  absl::Status gradient(std::span<const double> x, std::span<double> gradient) override {
    for (size_t i = 0; i < x.size(); ++i) {
      gradient[i] = curvature_ * x[i] + slope_;
    }
    return absl::OkStatus();
  }

 private:
  const double curvature_;
  const double slope_;
};

std::vector<AnchorChoice> choices(const std::vector<double>& curvatures) {
  const int world_size = static_cast<int>(curvatures.size());
  const auto transports = WorldKind{false, world_size}.make(1);
  std::vector<AnchorChoice> made(curvatures.size());
  on_all_ranks(world_size, [&](int rank) {
    const auto place = static_cast<size_t>(rank);
    collective::Communicator communicator(*transports[place], 1, kTestDeadline);
    // Slopes differ far more than curvatures, and mean nothing.
    Bowl bowl(curvatures[place], 100.0 * rank);
    const std::vector<double> x(50);
    const absl::StatusOr<AnchorChoice> choice = choose_anchor(bowl, x, /*seed=*/3, communicator);
    ASSERT_OK(choice.status());
    made[place] = *choice;
  });
  return made;
}

TEST(ChooseAnchorTest, AllRanksTakeTheOneWhoseHessianIsNearestToTheMean) {
  for (const AnchorChoice& choice : choices({10, 1, 4, 2})) {  // mean 4.25
    EXPECT_EQ(choice.rank, 2);
    ASSERT_EQ(choice.deltas.size(), 4U);
    EXPECT_NEAR(choice.deltas[0], 5.75, 1e-3);
    EXPECT_NEAR(choice.deltas[1], 3.25, 1e-3);
    EXPECT_NEAR(choice.deltas[2], 0.25, 1e-3);
    EXPECT_NEAR(choice.deltas[3], 2.25, 1e-3);
  }
}

// In random directions rank 0 looks most alike: it differs in one direction alone, but there by
// far. Power iteration on the one that would be chosen finds that out.
TEST(ChooseAnchorTest, ADifferenceInOneDirectionCounts) {
  class Ridge final : public convex::Objective {
   public:
    Ridge(double everywhere, double first) : everywhere_(everywhere), first_(first) {}
    int64_t dimension() const override { return 400; }
    absl::Status gradient(std::span<const double> x, std::span<double> gradient) override {
      for (size_t i = 0; i < x.size(); ++i) {
        gradient[i] = (everywhere_ + (i == 0 ? first_ : 0)) * x[i];
      }
      return absl::OkStatus();
    }

   private:
    const double everywhere_;
    const double first_;
  };
  const auto transports = WorldKind{false, 3}.make(1);
  on_all_ranks(3, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    // Differences from the mean: 0 and 10 in the first direction; 1 and 5; 1 and 5.
    Ridge ridge(rank == 0 ? 3 : (rank == 1 ? 4 : 2), rank == 0 ? 15 : 0);
    const std::vector<double> x(400);
    const absl::StatusOr<AnchorChoice> choice = choose_anchor(ridge, x, /*seed=*/3, communicator);
    ASSERT_OK(choice.status());
    EXPECT_NE(choice->rank, 0);
    EXPECT_GT(choice->deltas[0], 9);
  });
}

TEST(ChooseAnchorTest, RanksThatAreAlikeDoNotDifferAndAllTakeTheSameOne) {
  const std::vector<AnchorChoice> made = choices({2, 2, 2});
  for (const AnchorChoice& choice : made) {
    EXPECT_EQ(choice.rank, made[0].rank);
    EXPECT_LT(choice.deltas[0], 1e-5);
  }
  EXPECT_EQ(choices({5})[0].rank, 0);
}

}  // namespace
}  // namespace laconic::trainer
