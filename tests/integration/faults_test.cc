// Processes die at bad moments: the job's end is right, said quickly, and nothing is left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kEndlessSteps = 100'000'000;

bool trains(const v1::Job& job) {
  return job.state() == v1::RUNNING && job.ranks_size() > 0 &&
         job.ranks(job.ranks_size() - 1).progress().step() > 0;
}

TEST(FaultTest, KilledTrainerFailsTheJobWithinFiveSecondsAndIsNamed) {
  Cluster cluster({2, 1});
  const std::string id = cluster.submit({.workers = 3, .steps = kEndlessSteps});
  const v1::Job running = cluster.watch_until(id, trains);
  const v1::Rank& victim = running.ranks(1);
  ASSERT_EQ(kill(victim.pid(), SIGKILL), 0);
  const v1::Job failed = cluster.watch_until_final(id, absl::Seconds(5));
  EXPECT_EQ(failed.state(), v1::FAILED);
  EXPECT_EQ(failed.ranks(1).exit().signal(), SIGKILL);
  EXPECT_THAT(failed.message(), HasSubstr("rank 1"));
  EXPECT_THAT(failed.message(), HasSubstr(victim.node()));
  EXPECT_THAT(failed.message(), ::testing::ContainsRegex("SIGKILL|signal 9"));
  EXPECT_GT(failed.ranks(1).exit().last_lines_size(), 0);
  const testing::Ended status = cluster.laconic({"status", id});
  EXPECT_THAT(status.out, HasSubstr("FAILED"));
  // Nothing holds a slot: the next job of the same size runs.
  const std::string next = cluster.submit({.name = "next", .workers = 3});
  EXPECT_EQ(cluster.watch_until_final(next).state(), v1::SUCCEEDED);
  EXPECT_TRUE(cluster.trainers_end());
}

TEST(FaultTest, RunningJobFinishesAcrossAKilledServer) {
  Cluster cluster({2});
  const std::string id = cluster.submit({.workers = 2, .steps = 20'000});
  cluster.watch_until(id, trains);
  const std::vector<pid_t> before = cluster.trainers();
  cluster.server().kill(SIGKILL);
  ASSERT_TRUE(cluster.server().wait(absl::Seconds(10)).has_value());
  cluster.start_server();
  const v1::Job job = cluster.watch_until_final(id, absl::Seconds(120));
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.message();
  EXPECT_EQ(job.generation(), 1u) << "the trainers were disturbed";
  EXPECT_EQ(before.size(), 2u);
}

// One line on standard error, and on standard output what a reader who comes late gets.
void expect_whole(testing::ChildProcess& follower, const std::string& all) {
  const std::optional<testing::Ended> ended = follower.wait(absl::Seconds(30));
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->exit_code, 0) << ended->err;
  EXPECT_EQ(ended->out, all);
  EXPECT_EQ(std::count(ended->err.begin(), ended->err.end(), '\n'), 1) << ended->err;
  EXPECT_THAT(ended->err, HasSubstr("laconic-server is away"));
}

TEST(FaultTest, FollowedLogsAndEventsGoOnAcrossAKilledServer) {
  Cluster cluster({2});
  const std::string id = cluster.submit({.workers = 2, .steps = 20'000});
  cluster.watch_until(id, trains);
  const std::vector<std::string> base{binary("laconic"), "--server", cluster.address()};
  const auto follow = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), base.begin(), base.end());
    return std::make_unique<testing::ChildProcess>(arguments);
  };
  const auto logs = follow({"logs", "-f", id, "--rank", "0", "--stderr"});
  const auto events = follow({"events", "-f", id});
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while ((logs->out().empty() || events->out().empty()) && absl::Now() < give_up) {
    std::this_thread::yield();
  }
  const std::string logs_before = logs->out();
  const std::string events_before = events->out();
  ASSERT_NE(logs_before, "");
  cluster.server().kill(SIGKILL);
  ASSERT_TRUE(cluster.server().wait(absl::Seconds(10)).has_value());
  while ((logs->err().empty() || events->err().empty()) && absl::Now() < give_up) {
    std::this_thread::yield();
  }
  cluster.start_server();
  EXPECT_EQ(cluster.watch_until_final(id, absl::Seconds(120)).state(), v1::SUCCEEDED);
  const std::string all_logs = cluster.laconic({"logs", id, "--rank", "0", "--stderr"}).out;
  const std::string all_events = cluster.laconic({"events", id}).out;
  EXPECT_GT(all_logs.size(), logs_before.size()) << "nothing came after the restart";
  EXPECT_GT(all_events.size(), events_before.size()) << "nothing came after the restart";
  expect_whole(*logs, all_logs);
  expect_whole(*events, all_events);
}

TEST(FaultTest, AcknowledgedSubmitSurvivesAKilledServer) {
  Cluster cluster({});
  const std::string id = cluster.submit({});
  cluster.server().kill(SIGKILL);
  ASSERT_TRUE(cluster.server().wait(absl::Seconds(10)).has_value());
  cluster.start_server();
  EXPECT_EQ(cluster.get(id).state(), v1::QUEUED);
  cluster.start_worker(2);
  EXPECT_EQ(cluster.watch_until_final(id).state(), v1::SUCCEEDED);
}

TEST(FaultTest, KilledWorkerTakesItsTrainersWithItAndTheJobFails) {
  Cluster cluster({1, 1});
  const std::string id = cluster.submit({.workers = 2, .steps = kEndlessSteps});
  cluster.watch_until(id, trains);
  cluster.worker(0).kill(SIGKILL);
  const v1::Job failed = cluster.watch_until_final(id, absl::Seconds(20));
  EXPECT_EQ(failed.state(), v1::FAILED);
  EXPECT_THAT(failed.message(), HasSubstr("node-0"));
}

TEST(FaultTest, CancelOfARunningJobLeavesNoTrainer) {
  Cluster cluster({2});
  const std::string id = cluster.submit({.workers = 2, .steps = kEndlessSteps});
  cluster.watch_until(id, trains);
  EXPECT_EQ(cluster.laconic({"cancel", id}).exit_code, 0);
  EXPECT_EQ(cluster.watch_until_final(id, absl::Seconds(10)).state(), v1::CANCELLED);
  EXPECT_TRUE(cluster.trainers_end());
}

TEST(FaultTest, CancelOfAStartingJobLeavesNoTrainer) {
  Cluster cluster({2});
  const std::string id = cluster.submit({.workers = 2, .steps = kEndlessSteps});
  cluster.watch_until(id, [](const v1::Job& job) { return job.state() != v1::QUEUED; });
  EXPECT_EQ(cluster.laconic({"cancel", id}).exit_code, 0);
  EXPECT_EQ(cluster.watch_until_final(id, absl::Seconds(10)).state(), v1::CANCELLED);
  EXPECT_TRUE(cluster.trainers_end());
}

TEST(FaultTest, WaitOfACancelledJobExitsWithThree) {
  Cluster cluster({});
  const std::string id = cluster.submit({});
  EXPECT_EQ(cluster.laconic({"cancel", id}).exit_code, 0);
  EXPECT_EQ(cluster.laconic({"wait", id, "--timeout", "10s"}).exit_code, 3);
}

TEST(FaultTest, HungTrainerIsEndedByTheRoundDeadlineAndNamed) {
  Cluster cluster({2});
  const std::string id = cluster.submit(
      {.workers = 2,
       .steps = kEndlessSteps,
       .exchange = "{local: {inner_steps: 4}, compressor: {quantize: {bits: 1, rows: {}}}, "
                   "round_deadline: 2s}"});
  const v1::Job running = cluster.watch_until(id, trains);
  ASSERT_EQ(kill(running.ranks(1).pid(), SIGSTOP), 0);
  const v1::Job failed = cluster.watch_until_final(id, absl::Seconds(30));
  EXPECT_EQ(failed.state(), v1::FAILED);
  EXPECT_THAT(failed.message(), HasSubstr("rank 1"));
  EXPECT_TRUE(cluster.trainers_end());
}

}  // namespace
}  // namespace laconic::integration
