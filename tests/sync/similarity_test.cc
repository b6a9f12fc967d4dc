// delta and L from sketches of gradients at two points, and what follows from them.
#include "common/sync/similarity.h"

#include <cmath>
#include <limits>

#include "common/core/random.h"
#include "common/sync/sync_method.h"
#include "tests/collective/world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

std::vector<float> random_vector(size_t size, uint64_t seed, double scale = 1) {
  core::Random random(seed);
  std::vector<float> values(size);
  for (float& value : values) {
    value = static_cast<float>(scale * (2 * random.uniform() - 1));
  }
  return values;
}

// Of one world, until all ranks are done.
class Links {
 public:
  explicit Links(int world_size) {
    collective::InProcessNetwork network(world_size);
    for (int rank = 0; rank < world_size; ++rank) {
      links_.push_back(network.endpoint(rank));
    }
  }
  collective::Transport& operator[](int rank) const { return *links_[static_cast<size_t>(rank)]; }

 private:
  std::vector<std::unique_ptr<collective::Transport>> links_;
};

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * b[i];
  }
  return sum;
}

std::vector<float> sketch_of(std::span<const float> v, uint64_t seed) {
  std::vector<float> sketch(kSketchSize);
  make_sketch(v, seed, sketch);
  return sketch;
}

// P ranks with Hessians a_m I, sampled: y_m of either half is a_m s plus noise of its own.
struct Ranks {
  std::vector<double> curvature;  // a_m
  double noise = 0;               // per element, of one half
  size_t elements = 20'000;

  std::vector<float> step() const { return random_vector(elements, 7); }
  double length() const { return std::sqrt(dot(step(), step())); }
  std::vector<float> change(size_t rank, size_t half) const {
    std::vector<float> y = step();
    const std::vector<float> noisy = random_vector(elements, 100 + 2 * rank + half, noise);
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = static_cast<float>(curvature[rank] * y[i]) + noisy[i];
    }
    return y;
  }
  std::vector<float> sketches(uint64_t seed) const {
    std::vector<float> all;
    for (size_t rank = 0; rank < curvature.size(); ++rank) {
      for (size_t half = 0; half < 2; ++half) {
        const std::vector<float> sketch = sketch_of(change(rank, half), seed);
        all.insert(all.end(), sketch.begin(), sketch.end());
      }
    }
    return all;
  }
};

TEST(SketchTest, InnerProductsAreUnbiasedAndCloseToWhatTheyStandFor) {
  const std::vector<float> a = random_vector(5000, 1);
  std::vector<float> b = random_vector(5000, 2);
  for (size_t i = 0; i < b.size(); ++i) {
    b[i] += a[i];
  }
  constexpr int kSeeds = 400;
  const double expected = dot(a, b);
  const double spread = std::sqrt(2.0 / kSketchSize * dot(a, a) * dot(b, b));
  double sum = 0;
  double squares = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const double off =
        dot(sketch_of(a, static_cast<uint64_t>(seed)), sketch_of(b, static_cast<uint64_t>(seed))) -
        expected;
    sum += off;
    squares += off * off;
  }
  EXPECT_LT(std::abs(sum / kSeeds), 4 * spread / std::sqrt(kSeeds));
  EXPECT_LT(std::sqrt(squares / kSeeds), 1.15 * spread);
}

TEST(SketchTest, IsLinearAndTheSameForTheSameSeed) {
  const std::vector<float> a = random_vector(999, 1);
  const std::vector<float> b = random_vector(999, 2);
  std::vector<float> sum(a.size());
  std::ranges::transform(a, b, sum.begin(), std::plus<>());
  const std::vector<float> of_sum = sketch_of(sum, 5);
  for (size_t i = 0; i < kSketchSize; ++i) {
    EXPECT_NEAR(of_sum[i], sketch_of(a, 5)[i] + sketch_of(b, 5)[i], 1e-4);
  }
  EXPECT_EQ(sketch_of(a, 5), sketch_of(a, 5));
  EXPECT_NE(sketch_of(a, 5), sketch_of(a, 6));
}

TEST(SimilarityTest, FindsDeltaOfEveryRankAndTheSmoothnessOfTheMean) {
  const Ranks ranks = {.curvature = {1, 2, 3, 6}};  // mean 3: deltas 2, 1, 0, 3
  const Similarity found = estimate_similarity(ranks.sketches(3), ranks.length());
  EXPECT_NEAR(found.smoothness, 3, 0.3);
  ASSERT_EQ(found.deltas.size(), 4);
  EXPECT_NEAR(found.deltas[0], 2, 0.2);
  EXPECT_NEAR(found.deltas[1], 1, 0.1);
  EXPECT_NEAR(found.deltas[2], 0, 0.02);
  EXPECT_NEAR(found.deltas[3], 3, 0.3);
  EXPECT_NEAR(found.delta_rms, std::sqrt(14.0 / 4), 0.2);
}

TEST(SimilarityTest, NoiseOfTheSamplesIsNotTakenForADifferenceOfTheRanks) {
  const Ranks alike = {.curvature = {1, 1, 1, 1}, .noise = 1};
  double mean_square = 0;
  double naive = 0;
  constexpr int kSeeds = 20;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::vector<float> sketches = alike.sketches(seed);
    mean_square += std::pow(estimate_similarity(sketches, alike.length()).delta_rms, 2) / kSeeds;
    // The same half twice is what a plain norm of the difference would be.
    std::vector<float> one_half;
    for (size_t rank = 0; rank < 4; ++rank) {
      for (int copy = 0; copy < 2; ++copy) {
        one_half.insert(one_half.end(), sketches.begin() + 2 * rank * kSketchSize,
                        sketches.begin() + (2 * rank + 1) * kSketchSize);
      }
    }
    naive += std::pow(estimate_similarity(one_half, alike.length()).delta_rms, 2) / kSeeds;
  }
  EXPECT_GT(naive, 0.5);  // three quarters of the noise's square
  EXPECT_LT(mean_square, naive / 10);
}

TEST(SimilarityTest, OneRankDiffersFromNobody) {
  const Ranks one = {.curvature = {2}};
  const Similarity found = estimate_similarity(one.sketches(1), one.length());
  EXPECT_EQ(found.delta_rms, 0);
  EXPECT_NEAR(found.smoothness, 2, 0.2);
}

TEST(SimilarityTest, AllRanksGatherTheSameBits) {
  const Ranks ranks = {.curvature = {1, 2, 3}};
  const std::vector<float> sketches = ranks.sketches(3);
  const Links links(3);
  std::vector<Similarity> found(3);
  on_all_ranks(3, [&](int rank) {
    collective::Communicator communicator(links[rank], 1, kTestDeadline);
    const auto own =
        std::span(sketches).subspan(static_cast<size_t>(rank) * 2 * kSketchSize, 2 * kSketchSize);
    const auto gathered = gather_similarity(own, ranks.length(), communicator, {});
    ASSERT_OK(gathered.status());
    found[static_cast<size_t>(rank)] = *gathered;
    EXPECT_LT(communicator.bytes().sent, 2 * (2 * 4 * kSketchSize + 100));
  });
  EXPECT_EQ(found[0].deltas, estimate_similarity(sketches, ranks.length()).deltas);
  for (const Similarity& other : found) {
    EXPECT_EQ(other.deltas, found[0].deltas);
    EXPECT_EQ(other.delta_rms, found[0].delta_rms);
    EXPECT_EQ(other.smoothness, found[0].smoothness);
  }
}

TEST(SimilarityTest, SketchThatIsNoNumberOrOfAnotherLengthIsRefused) {
  for (const bool shorter : {false, true}) {
    const Links links(2);
    on_all_ranks(2, [&](int rank) {
      collective::Communicator communicator(links[rank], 1, kTestDeadline);
      std::vector<float> own(2 * kSketchSize, 1.0F);
      if (rank == 1) {
        own[5] = std::numeric_limits<float>::quiet_NaN();
        own.resize(shorter ? 10 : own.size());
      }
      const auto gathered = gather_similarity(own, 1, communicator, {});
      if (rank == 0) {
        EXPECT_THAT(gathered.status(), StatusIs(absl::StatusCode::kDataLoss,
                                                HasSubstr(shorter ? "sent a sketch" : "finite")));
      }
    });
  }
}

TEST(SimilarityTest, StepsGrowWithLOverDelta) {
  EXPECT_EQ(steps_for_similarity(0.5, 4, 100), 32);  // 8 (L / delta + 2)
  EXPECT_EQ(steps_for_similarity(4, 4, 100), 18);
  EXPECT_EQ(steps_for_similarity(std::numeric_limits<double>::infinity(), 4, 100), 16);
  EXPECT_EQ(steps_for_similarity(0.1, 4, 100), 96);
  EXPECT_EQ(steps_for_similarity(1e-300, 4, 100), 100);
  EXPECT_EQ(steps_for_similarity(0, 4, 100), 100);
  EXPECT_EQ(steps_for_similarity(std::numeric_limits<double>::infinity(), 20, 100), 20);
}

Similarity measured(double delta_square, double smoothness_square) {
  Similarity similarity;
  similarity.delta_square = delta_square;
  similarity.smoothness_square = smoothness_square;
  return similarity;
}

TEST(SimilarityMeanTest, WeighsWhatWasBeforeByHalfAndKeepsSquaresBelowZero) {
  SimilarityMean mean;
  EXPECT_EQ(mean.ratio(), 0);
  mean.add(measured(4, 1));
  EXPECT_DOUBLE_EQ(mean.ratio(), 2);
  mean.add(measured(-2, 3));
  EXPECT_DOUBLE_EQ(mean.ratio(), std::sqrt(0.5));  // 1 of 2
  mean.add(measured(-3, 2));
  EXPECT_EQ(mean.ratio(), 0);
  mean.add(measured(9, -2.5));
  EXPECT_EQ(mean.ratio(), std::numeric_limits<double>::infinity());
}

// Ranks with losses a_m |x - t_m|^2 / 2 take `rounds` rounds of H steps; the distance of what they
// share from the least point of the mean loss.
double bias_of_local(double shift, double unlike = -1) {
  constexpr size_t kElements = 3;
  constexpr double kCurvature[] = {0.2, 1, 5};
  constexpr double kTarget[] = {4, 3, -1};
  constexpr int kInnerSteps = 16;
  core::ExchangeSpec spec;
  spec.method = core::Method::kLocal;
  spec.rounds.inner_steps = kInnerSteps;
  spec.outer_rate = 1;
  spec.outer_momentum = 0;
  spec.shift = shift;
  const Links links(3);
  double bias = 0;
  on_all_ranks(3, [&](int rank) {
    collective::Communicator communicator(links[rank], 1, kTestDeadline);
    auto method = make_sync_method(spec, {{{"x", 1, kElements}}}, communicator);
    ASSERT_OK(method.status());
    std::vector<float> x(kElements);
    std::vector<float> g(kElements);
    ASSERT_OK((*method)->begin({x, g}));
    if (unlike >= 0) {
      (*method)->take_similarity(measured(unlike * unlike, 1));
    }
    for (int step = 1; step <= 200 * kInnerSteps; ++step) {
      for (size_t i = 0; i < kElements; ++i) {
        g[i] = static_cast<float>(kCurvature[rank] * (x[i] - kTarget[rank]));
      }
      ASSERT_OK((*method)->reduce_gradients({x, g}));
      for (size_t i = 0; i < kElements; ++i) {
        x[i] -= 0.05F * g[i];
      }
      ASSERT_OK((*method)->end_step({x, g}, false));
    }
    if (rank == 0) {
      const double best = (0.2 * 4 + 1 * 3 - 5 * 1) / 6.2;
      bias = std::abs(x[0] - best);
    }
  });
  return bias;
}

TEST(LocalShiftTest, TakesMostOfTheBiasOfUnlikeRanksAway) {
  const double plain = bias_of_local(0);
  EXPECT_GT(plain, 0.05);
  EXPECT_LT(bias_of_local(1), plain / 4);
  EXPECT_LT(bias_of_local(0.5), plain);
}

TEST(LocalShiftTest, IsTurnedDownWhereTheRanksAreAlike) {
  const double plain = bias_of_local(0);
  EXPECT_NEAR(bias_of_local(1, /*unlike=*/0), plain, 1e-6);
  EXPECT_LT(bias_of_local(1, /*unlike=*/5), plain / 4);
}

TEST(LocalSimilarityTest, StepsBetweenRoundsFollowWhatWasMeasured) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kLocal;
  spec.rounds.inner_steps = 2;
  spec.inner_steps_max = 40;
  const Links links(1);
  collective::Communicator communicator(links[0], 1, kTestDeadline);
  auto method = make_sync_method(spec, {{{"x", 1, 2}}}, communicator);
  ASSERT_OK(method.status());
  std::vector<float> x(2);
  std::vector<float> g(2);
  ASSERT_OK((*method)->begin({x, g}));
  std::vector<int> ends;
  for (int step = 1; step <= 60; ++step) {
    x[0] += 1;
    const int64_t rounds = (*method)->stats().rounds;
    ASSERT_OK((*method)->end_step({x, g}, false));
    if ((*method)->stats().rounds > rounds) {
      ends.push_back(step);
    }
    if (step == 4) {
      EXPECT_EQ((*method)->stats().decision.reason, RoundReason::kEveryRound);
      EXPECT_EQ((*method)->take_similarity(measured(4, 1)), 20);
    } else if (step == 24) {
      EXPECT_EQ((*method)->stats().decision.reason, RoundReason::kSimilarity);
      EXPECT_EQ((*method)->take_similarity(measured(-4, 1)), 40);
    }
  }
  EXPECT_EQ(ends, (std::vector<int>{2, 4, 24}));
}

TEST(LocalSimilarityTest, SpecThatCannotBeFollowedIsRefused) {
  const Links links(1);
  collective::Communicator communicator(links[0], 1, kTestDeadline);
  core::ExchangeSpec spec;
  spec.method = core::Method::kLocal;
  spec.rounds.inner_steps = 5;
  const auto made = [&] { return make_sync_method(spec, {{{"x", 1, 2}}}, communicator).status(); };
  spec.inner_steps_max = 4;
  EXPECT_THAT(made(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inner_steps_max")));
  spec.inner_steps_max = 0;
  spec.shift = 1.5;
  EXPECT_THAT(made(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shift is 1.5")));
}

}  // namespace
}  // namespace laconic::sync
