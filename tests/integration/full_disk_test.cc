// Real disks that are full: the error says so, nothing hangs, and nothing keeps running.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "common/core/exit_codes.h"
#include "tests/integration/cluster.h"
#include "tests/testing/small_disk.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(150);  // several small jobs, one by one

class FullDiskRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!disk_.why_not().empty()) {
      GTEST_SKIP() << disk_.why_not();
    }
    write_idx_data(data_, 64);
  }
  ~FullDiskRunTest() override {
    EXPECT_TRUE(testing::wait_until_gone(kMarkName, mark_, absl::Seconds(10)).empty())
        << "processes are left";
  }

  testing::Ended run(const JobOptions& options) {
    const std::filesystem::path file = directory_.path() / "job.yaml";
    testing::write_file(file, job_yaml(data_, options));
    return testing::run_program({binary("laconic"), "run", "-f", file, "--out", out_}, kPatience,
                                {{kMarkName, mark_}});
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_.path() / "data";
  std::filesystem::path out_ = directory_.path() / "out";
  std::string mark_ = new_mark();
  bool made_ = std::filesystem::create_directory(out_);
  testing::SmallDisk disk_{out_, 4 << 20};
};

TEST_F(FullDiskRunTest, FullOutIsRefusedBeforeAnythingStarts) {
  disk_.fill();
  const testing::Ended ended = run({});
  EXPECT_EQ(ended.exit_code, core::kExitLimit);
  EXPECT_THAT(ended.err, HasSubstr("No space left on device"));
  EXPECT_THAT(ended.err, HasSubstr(out_.string()));
  EXPECT_THAT(ended.err, HasSubstr("--out"));
  EXPECT_FALSE(std::filesystem::exists(out_ / "server"));
}

TEST_F(FullDiskRunTest, ModelThatDoesNotFitIsAFailedJobThatSaysSo) {
  // 64 * 16384 + 16384 * 4 weights and the biases are 4.5 MB.
  const testing::Ended ended = run({.steps = 4, .model = "mlp: {hidden: [16384]}"});
  EXPECT_EQ(ended.exit_code, core::kExitJobFailed) << ended.err;
  EXPECT_THAT(ended.out + ended.err, HasSubstr("No space left on device"));
  EXPECT_THAT(ended.out + ended.err, HasSubstr("model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(out_ / "model.safetensors")) << "half a model";
}

TEST(FullDiskServerTest, RefusesJobsWhileItsDiskIsFullLivesOnAndTakesThemAgain) {
  Cluster cluster({});
  cluster.server().kill(SIGTERM);
  ASSERT_TRUE(cluster.server().wait(absl::Seconds(20)).has_value());
  const testing::SmallDisk disk(cluster.directory() / "server", 1 << 20);
  cluster.start_server();
  if (!disk.why_not().empty()) {
    GTEST_SKIP() << disk.why_not();
  }
  const std::string first = cluster.submit({.name = "first"});
  const std::string file = cluster.directory() / "first.yaml";
  disk.fill();
  // What the store has already got of the disk may take some more.
  testing::Ended ended = cluster.laconic({"submit", "-f", file});
  for (int i = 0; i < 100 && ended.exit_code == 0; ++i) {
    ended = cluster.laconic({"submit", "-f", file});
  }
  EXPECT_EQ(ended.exit_code, core::kExitLimit);
  EXPECT_THAT(ended.err, HasSubstr("disk is full"));
  EXPECT_THAT(ended.err, HasSubstr("free space on the disk of --data-dir"));
  EXPECT_EQ(cluster.get(first).state(), v1::QUEUED);
  disk.free();
  const std::string after = cluster.submit({.name = "after"});
  cluster.start_worker(2);
  EXPECT_EQ(cluster.watch_until_final(first, kPatience).state(), v1::SUCCEEDED);
  EXPECT_EQ(cluster.watch_until_final(after, kPatience).state(), v1::SUCCEEDED);
}

}  // namespace
}  // namespace laconic::integration
