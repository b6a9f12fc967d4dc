#include "worker/trainer/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/testing/status_matchers.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

std::vector<int64_t> labels_of(int64_t samples, int64_t classes) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < samples; ++i) {
    labels.push_back(i % classes);
  }
  return labels;
}

// Every sample in exactly one share.
void expect_partition(const std::vector<std::vector<int64_t>>& shares, int64_t samples) {
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& share : shares) {
    all.insert(all.end(), share.begin(), share.end());
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(static_cast<int64_t>(all.size()), samples);
  for (int64_t i = 0; i < samples; ++i) {
    ASSERT_EQ(all[static_cast<size_t>(i)], i);
  }
}

TEST(SplitTest, EqualStretchesTileTheSamples) {
  for (const int world_size : {1, 2, 3, 7}) {
    int64_t next = 0;
    for (int rank = 0; rank < world_size; ++rank) {
      const Stretch stretch = equal_stretch(101, {.rank = rank, .world_size = world_size});
      EXPECT_EQ(stretch.begin, next);
      EXPECT_GE(stretch.end - stretch.begin, 101 / world_size);
      next = stretch.end;
    }
    EXPECT_EQ(next, 101);
  }
}

TEST(SplitTest, IidSharesAreDisjointAndComplete) {
  for (const int world_size : {1, 2, 3, 7}) {
    std::vector<std::vector<int64_t>> shares;
    for (int rank = 0; rank < world_size; ++rank) {
      ASSERT_OK_AND_ASSIGN(shares.emplace_back(),
                           iid_share(101, {.rank = rank, .world_size = world_size}, 5));
    }
    expect_partition(shares, 101);
  }
}

TEST(SplitTest, IidSharesFollowTheSeed) {
  const World world{.rank = 1, .world_size = 3};
  EXPECT_EQ(*iid_share(100, world, 5), *iid_share(100, world, 5));
  EXPECT_NE(*iid_share(100, world, 5), *iid_share(100, world, 6));
}

TEST(SplitTest, ContiguousSharesKeepTheOrderOfTheFile) {
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> share,
                       contiguous_share(7, {.rank = 1, .world_size = 2}));
  EXPECT_EQ(share, (std::vector<int64_t>{4, 5, 6}));
}

TEST(SplitTest, MoreRanksThanSamplesAreRefused) {
  EXPECT_THAT(iid_share(2, {.rank = 0, .world_size = 3}, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 samples, 3 ranks")));
  EXPECT_THAT(contiguous_share(2, {.rank = 0, .world_size = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fewer workers")));
}

TEST(SplitTest, DirichletSharesAreDisjointAndComplete) {
  const std::vector<int64_t> labels = labels_of(1009, 10);
  for (const int world_size : {1, 2, 3, 7}) {
    for (const double alpha : {0.01, 0.3, 1000.0}) {
      ASSERT_OK_AND_ASSIGN(
          const auto shares,
          dirichlet_shares(labels, {.alpha = alpha, .seed = 3, .world_size = world_size}));
      expect_partition(shares, 1009);
    }
  }
}

TEST(SplitTest, EveryDirichletShareHoldsABatch) {
  const std::vector<int64_t> labels = labels_of(300, 3);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ASSERT_OK_AND_ASSIGN(
        const auto shares,
        dirichlet_shares(labels, {.alpha = 0.01, .seed = seed, .world_size = 7, .share_min = 40}));
    for (const std::vector<int64_t>& share : shares) {
      EXPECT_GE(share.size(), 40U);
    }
    expect_partition(shares, 300);
  }
}

TEST(SplitTest, SmallAlphaMakesUnlikeSharesAndLargeAlphaAlikeOnes) {
  const std::vector<int64_t> labels = labels_of(4000, 4);
  const auto largest_class_share = [&](double alpha) {
    const auto shares =
        dirichlet_shares(labels, {.alpha = alpha, .seed = 1, .world_size = 4}).value();
    double largest = 0;
    for (const std::vector<int64_t>& share : shares) {
      std::vector<double> counts(4);
      for (const int64_t sample : share) {
        ++counts[static_cast<size_t>(labels[static_cast<size_t>(sample)])];
      }
      largest = std::max(largest, *std::max_element(counts.begin(), counts.end()) /
                                      static_cast<double>(share.size()));
    }
    return largest;
  };
  EXPECT_LT(largest_class_share(1000), 0.3);
  EXPECT_GT(largest_class_share(0.05), 0.8);
}

TEST(SplitTest, DirichletNeedsABatchPerRank) {
  EXPECT_THAT(
      dirichlet_shares(labels_of(99, 2), {.alpha = 1, .seed = 0, .world_size = 2, .share_min = 50}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least 50")));
}

TEST(SplitTest, EachPassVisitsEverySampleOnceInANewOrder) {
  SampleOrder order({3, 5, 7, 11, 13}, /*seed=*/1, /*rank=*/0);
  const std::vector<int64_t> passes = order.next(50);
  std::set<std::vector<int64_t>> orders;
  for (auto pass = passes.begin(); pass != passes.end(); pass += 5) {
    orders.insert(std::vector<int64_t>(pass, pass + 5));
    EXPECT_EQ(std::set<int64_t>(pass, pass + 5), (std::set<int64_t>{3, 5, 7, 11, 13}));
  }
  EXPECT_GT(orders.size(), 5U);
}

TEST(SplitTest, RanksDrawDifferentOrders) {
  std::vector<int64_t> share(100);
  std::iota(share.begin(), share.end(), 0);
  EXPECT_NE(SampleOrder(share, 1, 0).next(100), SampleOrder(share, 1, 1).next(100));
  EXPECT_EQ(SampleOrder(share, 1, 1).next(100), SampleOrder(share, 1, 1).next(100));
}

TEST(SplitTest, EvenlySpacedSamplesSpanTheWhole) {
  EXPECT_EQ(evenly_spaced(10, 4), (std::vector<int64_t>{0, 2, 5, 7}));
  EXPECT_EQ(evenly_spaced(3, 100), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(evenly_spaced(int64_t{1} << 62, 2), (std::vector<int64_t>{0, int64_t{1} << 61}));
}

TEST(SampleOrderTest, SkippingPassesWhatNextWouldHaveGiven) {
  const std::vector<int64_t> share = {3, 5, 7, 11, 13};
  for (const int64_t skipped : {0, 1, 5, 6, 23}) {
    SampleOrder read(share, /*seed=*/1, /*rank=*/2);
    SampleOrder skip(share, 1, 2);
    read.next(2);
    skip.next(2);
    read.next(skipped);
    skip.skip(skipped);
    EXPECT_EQ(skip.next(12), read.next(12)) << skipped;
  }
}

}  // namespace
}  // namespace laconic::trainer
