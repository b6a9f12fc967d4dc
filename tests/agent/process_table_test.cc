#include "worker/agent/process_table.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/agent/processes.h"
#include "tests/testing/status_matchers.h"

namespace laconic::agent {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

class ProcessTableTest : public ::testing::Test {
 protected:
  ProcessSpec shell(const std::string& name, const std::string& script) const {
    return {.name = name,
            .argv = {"/bin/sh", "-c", script},
            .environment = {"LACONIC_TASK_TOKEN=secret"},
            .directory = directory_ / "",
            .stdout_path = directory_ / name + ".out",
            .stderr_path = directory_ / name + ".err"};
  }

  // Waits for the next end.
  std::optional<ProcessExit> next_exit() {
    const absl::Time until = absl::Now() + kPatience;
    while (absl::Now() < until) {
      const std::vector<ProcessExit> exits = table_.collect(absl::Now());
      if (!exits.empty()) {
        return exits[0];
      }
      std::vector<pollfd> fds;
      table_.append_poll_fds(fds);
      const absl::Duration wait = std::clamp(table_.next_deadline(absl::Now()) - absl::Now(),
                                             absl::ZeroDuration(), kPatience);
      poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
    }
    return std::nullopt;
  }

  TemporaryDirectory directory_;
  ProcessTable table_;
};

TEST_F(ProcessTableTest, ExitCodeAndOutputArrive) {
  ASSERT_OK(table_.spawn(shell("a", "echo out; echo err >&2; exit 7")));
  const auto exit = next_exit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->name, "a");
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_EQ(read_file(directory_ / "a.out"), "out\n");
  EXPECT_EQ(read_file(directory_ / "a.err"), "err\n");
  EXPECT_TRUE(table_.empty());
}

TEST_F(ProcessTableTest, SignalIsToldFromAnExitCode) {
  ASSERT_OK(table_.spawn(shell("a", "kill -KILL $$")));
  EXPECT_EQ(next_exit()->signal, SIGKILL);
}

TEST_F(ProcessTableTest, ChildHasNoDescriptorOfItsParentAndNoInput) {
  const int secret = open("/dev/null", O_RDONLY);  // Without O_CLOEXEC.
  ASSERT_OK(table_.spawn(shell("a", "cat; ls /proc/self/fd")));
  ASSERT_TRUE(next_exit().has_value());
  close(secret);
  // The fourth is ls reading the directory.
  EXPECT_EQ(read_file(directory_ / "a.out"), "0\n1\n2\n3\n");
}

TEST_F(ProcessTableTest, TokensAreInTheEnvironmentAndNotInTheArguments) {
  ASSERT_OK(table_.spawn(
      shell("a", "echo $LACONIC_TASK_TOKEN $LACONIC_TASK; tr '\\0' ' ' < /proc/$$/cmdline")));
  ASSERT_TRUE(next_exit().has_value());
  EXPECT_THAT(read_file(directory_ / "a.out"), ::testing::StartsWith("secret a\n"));
  EXPECT_EQ(read_file(directory_ / "a.out").find("secret", 1), std::string::npos);
}

TEST_F(ProcessTableTest, DeafProcessIsKilledAfterTheGrace) {
  ASSERT_EQ(mkfifo((directory_ / "ready").c_str(), 0600), 0);
  ASSERT_OK(
      table_.spawn(shell("a", "trap '' TERM; echo > ready; while :; do sleep 1000 & wait; done")));
  EXPECT_EQ(read_file(directory_ / "ready"), "\n");  // It is deaf now.
  table_.stop("a", absl::Milliseconds(50), absl::Now());
  EXPECT_EQ(next_exit()->signal, SIGKILL);
}

TEST_F(ProcessTableTest, MembersOfTheGroupDieWithItsLeader) {
  ASSERT_OK(table_.spawn(shell("a", "sleep 1000 & echo $! > member; exit 0")));
  ASSERT_TRUE(next_exit().has_value());
  const pid_t member = std::stoi(read_file(directory_ / "member"));
  EXPECT_TRUE(ends(member, absl::ZeroDuration()));
}

TEST_F(ProcessTableTest, ProcessesThatLeftTheGroupDieToo) {
  ASSERT_OK(table_.spawn(shell("a",
                               "setsid sh -c 'setsid sleep 1000 & echo $! > left; wait' & "
                               "while ! test -s left; do :; done; exit 3")));
  EXPECT_EQ(next_exit()->exit_code, 3);
  const pid_t left = std::stoi(read_file(directory_ / "left"));
  EXPECT_TRUE(ends(left, absl::ZeroDuration()));
}

TEST_F(ProcessTableTest, StraysOfARunningTaskAreSpared) {
  ASSERT_OK(table_.spawn(shell("b",
                               "mkfifo go; (setsid sleep 1000 & echo $! > stray) & wait; "
                               "read line < go")));
  ASSERT_OK(table_.spawn(shell("a", "while ! test -s stray; do :; done")));
  ASSERT_EQ(next_exit()->name, "a");
  const pid_t stray = std::stoi(read_file(directory_ / "stray"));
  EXPECT_FALSE(ends(stray, absl::ZeroDuration()));
  table_.stop("b", absl::ZeroDuration(), absl::Now());
  ASSERT_EQ(next_exit()->name, "b");
  EXPECT_TRUE(ends(stray, absl::ZeroDuration()));
}

// Nothing tells whose it is; a running task must not keep it alive for ever.
TEST_F(ProcessTableTest, StrayWithoutAnEnvironmentDiesAlthoughOthersRun) {
  ASSERT_OK(table_.spawn(shell("b", "mkfifo go; read line < go")));
  ASSERT_OK(table_.spawn(
      shell("a",
            "setsid env -i /bin/sh -c 'echo $$ > stray; while :; do /bin/sleep 1; done' & "
            "while ! test -s stray; do :; done")));
  ASSERT_EQ(next_exit()->name, "a");
  EXPECT_TRUE(ends(std::stoi(read_file(directory_ / "stray")), absl::ZeroDuration()));
}

TEST_F(ProcessTableTest, MissingProgramIsNotFound) {
  ProcessSpec spec = shell("a", "");
  spec.argv = {"/does/not/exist"};
  EXPECT_THAT(table_.spawn(spec), StatusIs(absl::StatusCode::kNotFound, HasSubstr("execve")));
  EXPECT_TRUE(table_.empty());
}

TEST_F(ProcessTableTest, MissingDirectoryIsNotFound) {
  ProcessSpec spec = shell("a", "");
  spec.directory = "/does/not/exist";
  EXPECT_THAT(table_.spawn(spec), StatusIs(absl::StatusCode::kNotFound, HasSubstr("chdir")));
}

TEST_F(ProcessTableTest, UnwritableLogIsAnError) {
  ProcessSpec spec = shell("a", "");
  spec.stderr_path = directory_ / "no/such/err";
  EXPECT_THAT(table_.spawn(spec), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/err")));
}

TEST_F(ProcessTableTest, StopOfAnUnknownNameDoesNothing) {
  table_.stop("nobody", absl::ZeroDuration(), absl::Now());
  EXPECT_TRUE(table_.collect(absl::Now()).empty());
}

}  // namespace
}  // namespace laconic::agent
