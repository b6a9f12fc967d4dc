#include "server/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/reasons.h"

namespace laconic::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<Verdict> decide(const std::vector<QueuedJob>& queue,
                            const std::vector<NodeSlots>& nodes,
                            const std::vector<std::string>& holders = {}) {
  return schedule(queue, nodes, holders);
}

TEST(SchedulerTest, SpreadsAGangOverTheNodesWithMostFreeSlots) {
  const auto v = decide({{"a", 4}}, {{"n1", 2, 1}, {"n2", 3, 3}, {"n3", 2, 2}});
  EXPECT_THAT(v[0].placement, ElementsAre("n1", "n2", "n2", "n3"));
}

TEST(SchedulerTest, BreaksTiesTowardTheLowerName) {
  const auto v = decide({{"a", 3}}, {{"n2", 2, 2}, {"n1", 2, 2}});
  EXPECT_THAT(v[0].placement, ElementsAre("n1", "n1", "n2"));
}

TEST(SchedulerTest, PlacesTheWholeGangOrNothing) {
  const auto v = decide({{"a", 4}}, {{"n1", 4, 3}}, {"other"});
  EXPECT_THAT(v[0].placement, IsEmpty());
  EXPECT_EQ(v[0].reason, kSlotsBusy);
  EXPECT_THAT(v[0].message, HasSubstr("needs 4 slots, 3 of 4"));
  EXPECT_THAT(v[0].blockers, ElementsAre("other"));
}

TEST(SchedulerTest, SaysThatNoWorkerIsConnected) {
  const auto v = decide({{"a", 1}}, {});
  EXPECT_EQ(v[0].reason, kNoWorkers);
  EXPECT_EQ(v[0].position, 1);
}

TEST(SchedulerTest, JobLargerThanAllNodesDoesNotHoldUpSmallerOnes) {
  const auto v = decide({{"big", 5}, {"small", 2}}, {{"n1", 4, 4}});
  EXPECT_EQ(v[0].reason, kNotEnoughSlots);
  EXPECT_THAT(v[0].message, HasSubstr("live node has 4 in all"));
  EXPECT_THAT(v[1].placement, ElementsAre("n1", "n1"));
}

TEST(SchedulerTest, JobThatWouldFitWaitsBehindAnOlderOneThatWaitsForSlots) {
  const auto v = decide({{"a", 4}, {"b", 1}}, {{"n1", 4, 2}}, {"running"});
  EXPECT_EQ(v[0].reason, kSlotsBusy);
  EXPECT_EQ(v[1].reason, kBehindOtherJob);
  EXPECT_THAT(v[1].blockers, ElementsAre("a"));
  EXPECT_EQ(v[1].position, 2);
}

TEST(SchedulerTest, TwoJobsShareTheSlotsOfOnePass) {
  const auto v = decide({{"a", 2}, {"b", 2}, {"c", 1}}, {{"n1", 4, 4}});
  EXPECT_EQ(v[0].placement.size(), 2u);
  EXPECT_EQ(v[1].placement.size(), 2u);
  EXPECT_EQ(v[2].reason, kSlotsBusy);
  EXPECT_EQ(v[2].slots_free, 0);
  EXPECT_THAT(v[2].blockers, ElementsAre("a", "b"));
}

TEST(SchedulerTest, EmptyQueueGivesNoVerdicts) {
  EXPECT_THAT(decide({}, {{"n1", 4, 4}}), IsEmpty());
}

}  // namespace
}  // namespace laconic::server
