#include "common/wire/task_id.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace laconic::wire {
namespace {

TEST(TaskIdTest, KeyAndIdHoldTheSame) {
  const TaskId id{"abcdefghij", UINT64_MAX, 2'147'483'647};
  const v1::TaskKey key = task_key(id);
  EXPECT_EQ(key.job_id(), "abcdefghij");
  EXPECT_EQ(key.generation(), UINT64_MAX);
  EXPECT_EQ(key.rank(), 2'147'483'647);
  EXPECT_EQ(task_id(key), id);
}

TEST(TaskIdTest, EveryPartTellsTasksApart) {
  const std::set<TaskId> ids{{"a", 1, 0}, {"b", 1, 0}, {"a", 2, 0}, {"a", 1, 1}, {"a", 1, 0}};
  EXPECT_EQ(ids.size(), 4u);
}

TEST(TaskIdTest, TasksOfAJobStandTogetherInOrderOfGenerationAndRank) {
  EXPECT_LT((TaskId{"a", 9, 9}), (TaskId{"b", 1, 0}));
  EXPECT_LT((TaskId{"a", 1, 9}), (TaskId{"a", 2, 0}));
  // As numbers, not as text.
  EXPECT_LT((TaskId{"a", 1, 2}), (TaskId{"a", 1, 10}));
}

TEST(TaskIdTest, EmptyKeyIsTheEmptyId) {
  EXPECT_EQ(task_id(v1::TaskKey()), TaskId());
}

TEST(TaskIdTest, TextNamesJobGenerationAndRank) {
  EXPECT_EQ(to_string({"abc", 3, 12}), "abc.3.12");
}

}  // namespace
}  // namespace laconic::wire
