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
    EXPECT_NEAR(choice.deltas[0], 5.75, 0.6);  // 10 % of sketches
    EXPECT_NEAR(choice.deltas[1], 3.25, 0.4);
    EXPECT_NEAR(choice.deltas[2], 0.25, 0.1);
    EXPECT_NEAR(choice.deltas[3], 2.25, 0.3);
  }
}

TEST(ChooseAnchorTest, OfEqualsTheFirstIsTaken) {
  for (const AnchorChoice& choice : choices({2, 2, 2})) {
    EXPECT_EQ(choice.rank, 0);
  }
  EXPECT_EQ(choices({5})[0].rank, 0);
}

}  // namespace
}  // namespace laconic::trainer
