// Several jobs on the same nodes, and jobs that must wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;

TEST(QueueTest, SecondJobWaitsForTheFirstAndThenRuns) {
  Cluster cluster({2});
  const std::string first = cluster.submit({.name = "first", .workers = 2, .steps = 20'000});
  cluster.watch_until(first, [](const v1::Job& job) { return job.state() == v1::RUNNING; });
  const std::string second = cluster.submit({.name = "second", .workers = 2});
  EXPECT_EQ(cluster.get(second).state(), v1::QUEUED);
  const testing::Ended why = cluster.laconic({"why", second});
  EXPECT_EQ(why.exit_code, 0) << why.err;
  EXPECT_THAT(why.out, HasSubstr(first));
  EXPECT_EQ(cluster.watch_until_final(first, absl::Seconds(120)).state(), v1::SUCCEEDED);
  EXPECT_EQ(cluster.watch_until_final(second).state(), v1::SUCCEEDED);
}

TEST(QueueTest, JobLargerThanTheFleetWaitsAndWhySaysSo) {
  Cluster cluster({1, 1});
  const std::string id = cluster.submit({.workers = 5});
  const testing::Ended why = cluster.laconic({"why", id});
  EXPECT_EQ(why.exit_code, 0) << why.err;
  EXPECT_THAT(why.out, HasSubstr("5"));
  EXPECT_THAT(why.out, HasSubstr("2"));
  const v1::Job waiting = cluster.watch_until(
      id, [](const v1::Job& job) { return job.reason() == "NOT_ENOUGH_SLOTS"; });
  EXPECT_EQ(waiting.state(), v1::QUEUED);
  // A worker with the missing slots ends the wait.
  cluster.start_worker(3);
  EXPECT_EQ(cluster.watch_until_final(id).state(), v1::SUCCEEDED);
}

TEST(QueueTest, SameRequestIdGivesTheSameJob) {
  Cluster cluster({});
  const std::filesystem::path file = cluster.directory() / "job.yaml";
  testing::write_file(file, job_yaml(cluster.data(), {}));
  const std::vector<std::string> command = {"submit", "-f", file.string(), "--request-id",
                                            "7b0e4a52-5a0e-4f0f-9a41-0d2f5c1d8c11"};
  const testing::Ended first = cluster.laconic(command);
  const testing::Ended second = cluster.laconic(command);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(first.out, second.out);
}

TEST(QueueTest, LogsAndEventsOfAFinishedJobAreThere) {
  Cluster cluster({2});
  const std::string id = cluster.submit({.workers = 2});
  EXPECT_EQ(cluster.laconic({"wait", id, "--timeout", "60s"}).exit_code, 0);
  const testing::Ended events = cluster.laconic({"events", id});
  EXPECT_EQ(events.exit_code, 0) << events.err;
  EXPECT_THAT(events.out, HasSubstr("TRAINED"));
  const testing::Ended logs = cluster.laconic({"logs", id});
  EXPECT_EQ(logs.exit_code, 0) << logs.err;
  EXPECT_THAT(logs.out, HasSubstr("step=40"));
}

}  // namespace
}  // namespace laconic::integration
