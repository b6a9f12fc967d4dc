// The emulator finds what it is for.
#include "tests/testing/block_emulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/compress/cuda/cta.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress::cuda {
namespace {

using ::laconic::testing::EmulatedCta;
using ::laconic::testing::run_emulated;
using ::laconic::testing::StatusIs;
using ::laconic::testing::ThreadOrder;
using ::testing::HasSubstr;

constexpr ThreadOrder kOrders[] = {ThreadOrder::kForward, ThreadOrder::kBackward,
                                   ThreadOrder::kShuffled};

TEST(BlockEmulatorTest, BallotAndShufflesGiveWhatLanesGave) {
  for (const ThreadOrder order : kOrders) {
    std::vector<uint32_t> ballots(64);
    std::vector<uint32_t> next(64);
    std::vector<uint32_t> before(64);
    ASSERT_OK(run_emulated({.threads = 64, .order = order}, [&](EmulatedCta& cta, void*) {
      const uint32_t thread = cta.thread();
      ballots[thread] = cta.ballot(thread % 3 == 0);
      next[thread] = cta.shuffle(thread, thread + 1) + cta.shuffle_xor(thread, 1);
      before[thread] = warp_sum_before(cta, thread);
    }));
    EXPECT_EQ(ballots[0], 0x49249249U);
    EXPECT_EQ(ballots[40], 0x92492492U);
    EXPECT_EQ(next[3], 4 + 2);
    EXPECT_EQ(next[63], 32 + 62);  // The next lane of the last one is the first of its warp.
    EXPECT_EQ(before[31], 30 * 31 / 2);
    EXPECT_EQ(before[32], 0);
    EXPECT_EQ(before[34], 32 + 33);
  }
}

TEST(BlockEmulatorTest, BlockBarrierOrdersSharedMemory) {
  for (const ThreadOrder order : kOrders) {
    std::vector<uint32_t> sums(3 * 96);
    ASSERT_OK(run_emulated({.blocks = 3, .threads = 96, .shared_bytes = 96 * 4, .order = order},
                           [&](EmulatedCta& cta, void* memory) {
                             auto* shared = static_cast<uint32_t*>(memory);
                             shared[cta.thread()] = cta.block();
                             cta.sync();
                             for (uint32_t i = 0; i < cta.threads(); ++i) {
                               sums[cta.block() * 96 + cta.thread()] += shared[i];
                             }
                           }));
    EXPECT_EQ(sums[0], 0);
    EXPECT_EQ(sums[96], 96);
    EXPECT_EQ(sums.back(), 2 * 96);
  }
}

TEST(BlockEmulatorTest, GridBarrierOrdersGlobalMemory) {
  std::vector<uint32_t> marks(4);
  std::vector<uint32_t> seen(4 * 32);
  ASSERT_OK(
      run_emulated({.blocks = 4, .threads = 32, .cooperative = true}, [&](EmulatedCta& cta, void*) {
        marks[cta.block()] = 1;
        cta.grid_sync();
        for (const uint32_t mark : marks) {
          seen[cta.block() * 32 + cta.thread()] += mark;
        }
      }));
  EXPECT_EQ(seen, std::vector<uint32_t>(4 * 32, 4));
}

// A kernel that relies on warp 0 being first gives other sums in other orders.
TEST(BlockEmulatorTest, MissingBarrierShowsInSomeOrder) {
  int wrong = 0;
  for (const ThreadOrder order : kOrders) {
    uint32_t got = 0;
    ASSERT_OK(run_emulated({.threads = 64, .shared_bytes = 64 * 4, .order = order},
                           [&](EmulatedCta& cta, void* memory) {
                             auto* shared = static_cast<uint32_t*>(memory);
                             shared[cta.thread()] = cta.thread();
                             if (cta.thread() == 63) {
                               got = shared[0];
                             }
                           }));
    wrong += got == 0 ? 0 : 1;
  }
  EXPECT_GT(wrong, 0);
}

TEST(BlockEmulatorTest, BallotThatALaneDoesNotReachFails) {
  const auto status = run_emulated({.threads = 32}, [](EmulatedCta& cta, void*) {
    if (cta.thread() != 5) {
      cta.ballot(true);
    }
  });
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("thread 5 has returned")));
  EXPECT_THAT(std::string(status.message()), HasSubstr("ballot, "));
}

TEST(BlockEmulatorTest, BallotsAtTwoPlacesFail) {
  // Not within the macro below, where every line is the same place.
  const auto status = run_emulated({.threads = 32}, [](EmulatedCta& cta, void*) {
    if (cta.thread() < 16) {
      cta.ballot(true);
    } else {
      cta.ballot(false);
    }
  });
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("threads of the warp")));
}

TEST(BlockEmulatorTest, BarrierThatAWarpDoesNotReachFails) {
  EXPECT_THAT(run_emulated({.threads = 64},
                           [](EmulatedCta& cta, void*) {
                             if (cta.thread() < 32) {
                               cta.sync();
                             }
                           }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("thread 32 has returned")));
}

TEST(BlockEmulatorTest, ShuffleBesideABarrierFails) {
  EXPECT_THAT(run_emulated({.threads = 32},
                           [](EmulatedCta& cta, void*) {
                             if (cta.thread() < 31) {
                               cta.shuffle(1, 0);
                             }
                             cta.sync();
                           }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is at sync, ")));
}

TEST(BlockEmulatorTest, GridBarrierNeedsACooperativeLaunch) {
  EXPECT_THAT(
      run_emulated({.blocks = 2, .threads = 32}, [](EmulatedCta& cta, void*) { cta.grid_sync(); }),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not cooperative")));
}

TEST(BlockEmulatorTest, GridBarrierThatABlockDoesNotReachFails) {
  EXPECT_THAT(run_emulated({.blocks = 2, .threads = 32, .cooperative = true},
                           [](EmulatedCta& cta, void*) {
                             if (cta.block() == 0) {
                               cta.grid_sync();
                             }
                           }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("threads of the grid")));
}

}  // namespace
}  // namespace laconic::compress::cuda
