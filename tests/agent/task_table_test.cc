#include "worker/agent/task_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace laconic::agent {
namespace {

const TaskId kTask{"job1", 1, 0};

v1::SessionResponse start(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_start_task()->mutable_key() = task_key(id);
  return response;
}
v1::SessionResponse stop(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_stop_task()->mutable_key() = task_key(id);
  return response;
}
v1::SessionResponse release(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_release_task()->mutable_key() = task_key(id);
  return response;
}
v1::SessionResponse launch(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_launch_task()->mutable_key() = task_key(id);
  return response;
}
v1::TrainerReport point(int64_t step) {
  v1::TrainerReport report;
  report.mutable_history()->set_step(step);
  return report;
}
v1::TrainerReport progress(int64_t step) {
  v1::TrainerReport report;
  report.mutable_progress()->set_step(step);
  return report;
}
v1::RankExit exit_code(int code) {
  v1::RankExit exit;
  exit.set_exit_code(code);
  return exit;
}
std::vector<v1::TaskUpdate> all_updates(TaskTable& table) {
  std::vector<v1::TaskUpdate> result;
  while (auto update = table.next_update()) {
    result.push_back(*std::move(update));
  }
  return result;
}

TEST(TaskTableTest, RepeatedStartSpawnsOnce) {
  TaskTable table;
  EXPECT_EQ(table.apply(start(kTask)).size(), 1u);
  EXPECT_TRUE(table.apply(start(kTask)).empty());
}

TEST(TaskTableTest, RepeatedLaunchIsPassedOnOnce) {
  TaskTable table;
  table.apply(start(kTask));
  EXPECT_TRUE(std::holds_alternative<PassLaunch>(table.apply(launch(kTask)).at(0)));
  EXPECT_TRUE(table.apply(launch(kTask)).empty());
}

TEST(TaskTableTest, StopOfAnUnknownTaskIsAnsweredWithItsExit) {
  TaskTable table;
  EXPECT_TRUE(table.apply(stop(kTask)).empty());
  const auto updates = all_updates(table);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(task_id(updates[0].key()), kTask);
  EXPECT_TRUE(updates[0].has_exit());
}

TEST(TaskTableTest, StopOfAnOldGenerationLeavesTheNewOneAlone) {
  TaskTable table;
  table.apply(start({"job1", 2, 0}));
  EXPECT_TRUE(table.apply(stop({"job1", 1, 0})).empty());
  EXPECT_EQ(table.running().size(), 1u);
}

TEST(TaskTableTest, NewGenerationEndsTheOldOneOfTheSameJobOnly) {
  TaskTable table;
  table.apply(start(kTask));
  table.apply(start({"job2", 1, 0}));
  const std::vector<Action> actions = table.apply(start({"job1", 2, 0}));
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(std::get<EndTask>(actions[0]).id, kTask);
  EXPECT_TRUE(std::holds_alternative<SpawnTask>(actions[1]));
}

TEST(TaskTableTest, StartOfAnOldGenerationIsRefused) {
  TaskTable table;
  table.apply(start({"job1", 2, 0}));
  EXPECT_TRUE(table.apply(start(kTask)).empty());
  EXPECT_TRUE(all_updates(table).at(0).has_exit());
}

TEST(TaskTableTest, OnlyTheNewestProgressComesOut) {
  TaskTable table;
  table.apply(start(kTask));
  table.reported(kTask, progress(1));
  table.reported(kTask, progress(2));
  const auto updates = all_updates(table);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].report().progress().step(), 2);
}

TEST(TaskTableTest, HistoryComesOutWholeAndInOrder) {
  TaskTable table;
  table.apply(start(kTask));
  for (int step = 1; step <= 100; ++step) {
    table.reported(kTask, point(step));
  }
  const auto updates = all_updates(table);
  ASSERT_EQ(updates.size(), 100u);
  for (size_t i = 0; i < updates.size(); ++i) {
    EXPECT_EQ(updates[i].report().history().step(), static_cast<int64_t>(i) + 1);
  }
}

TEST(TaskTableTest, ExitWaitsForTheLogsAndComesLast) {
  TaskTable table;
  table.apply(start(kTask));
  table.spawned(kTask, 17);
  table.reported(kTask, point(1));
  table.exited(kTask, exit_code(3));
  EXPECT_EQ(all_updates(table).size(), 2u);
  EXPECT_EQ(table.awaiting_logs(), std::vector<TaskId>{kTask});
  EXPECT_FALSE(table.all_told());
  table.logs_shipped(kTask);
  const auto updates = all_updates(table);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].exit().exit_code(), 3);
  EXPECT_TRUE(table.all_told());
}

TEST(TaskTableTest, SnapshotHoldsAllAndLeavesNothingToTell) {
  TaskTable table;
  table.apply(start(kTask));
  table.spawned(kTask, 17);
  table.apply(launch(kTask));
  table.reported(kTask, progress(5));
  table.reported(kTask, point(1));
  table.reported(kTask, point(2));
  table.exited(kTask, exit_code(0));
  table.logs_shipped(kTask);
  const auto snapshots = table.snapshots();
  ASSERT_EQ(snapshots.size(), 1u);
  EXPECT_EQ(snapshots[0].pid(), 17);
  EXPECT_TRUE(snapshots[0].launched());
  EXPECT_EQ(snapshots[0].progress().step(), 5);
  EXPECT_EQ(snapshots[0].history_size(), 2);
  EXPECT_TRUE(snapshots[0].has_exit());
  EXPECT_TRUE(all_updates(table).empty());
}

// A history larger than a message would make every registration fail, for ever.
TEST(TaskTableTest, HistoryThatDoesNotFitFollowsTheRegistrationAndTheExitComesAfterIt) {
  TaskTable table;
  table.apply(start(kTask));
  constexpr int kPoints = 300000;
  v1::TrainerReport report = point(0);
  report.mutable_history()->set_train_loss(1.5);
  for (int step = 1; step <= kPoints; ++step) {
    report.mutable_history()->set_step(step);
    table.reported(kTask, report);
  }
  table.exited(kTask, exit_code(0));
  table.logs_shipped(kTask);
  const auto snapshots = table.snapshots();
  ASSERT_EQ(snapshots.size(), 1u);
  EXPECT_LE(snapshots[0].ByteSizeLong(), kSnapshotBytesMax);
  EXPECT_FALSE(snapshots[0].has_exit());
  const auto updates = all_updates(table);
  ASSERT_EQ(static_cast<size_t>(snapshots[0].history_size()) + updates.size(), kPoints + 1u);
  EXPECT_EQ(updates[0].report().history().step(), snapshots[0].history_size() + 1);
  EXPECT_TRUE(updates.back().has_exit());
}

TEST(TaskTableTest, ReleaseOfARunningTaskEndsItAndForgetsItSilently) {
  TaskTable table;
  table.apply(start(kTask));
  EXPECT_TRUE(std::holds_alternative<EndTask>(table.apply(release(kTask)).at(0)));
  EXPECT_TRUE(table.apply(release(kTask)).empty());
  EXPECT_TRUE(std::holds_alternative<ForgetTask>(table.exited(kTask, exit_code(0)).at(0)));
  EXPECT_TRUE(all_updates(table).empty());
  EXPECT_TRUE(table.snapshots().empty());
}

TEST(TaskTableTest, FactsAboutAReleasedTaskAreDropped) {
  TaskTable table;
  table.apply(start(kTask));
  table.exited(kTask, exit_code(0));
  table.apply(release(kTask));
  table.spawned(kTask, 1);
  table.reported(kTask, point(1));
  table.exited(kTask, exit_code(0));
  EXPECT_TRUE(all_updates(table).empty());
}

TEST(TaskTableTest, CouldNotSpawnTellsTheFailureThenTheExit) {
  TaskTable table;
  table.apply(start(kTask));
  v1::Failure failure;
  failure.set_reason("SPAWN_FAILED");
  table.could_not_spawn(kTask, failure);
  const auto updates = all_updates(table);
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0].report().failure().reason(), "SPAWN_FAILED");
  EXPECT_EQ(updates[1].exit().exit_code(), kExitNotSpawned);
}

TEST(TaskTableTest, GraceOutsideTheLimitsIsClamped) {
  TaskTable table;
  table.apply(start(kTask));
  v1::SessionResponse command = stop(kTask);
  command.mutable_stop_task()->mutable_grace()->set_seconds(-5);
  EXPECT_EQ(std::get<EndTask>(table.apply(command).at(0)).grace, absl::ZeroDuration());
  command.mutable_stop_task()->mutable_grace()->set_seconds(1 << 30);
  EXPECT_EQ(std::get<EndTask>(table.apply(command).at(0)).grace, kStopGraceMax);
}

}  // namespace
}  // namespace laconic::agent
