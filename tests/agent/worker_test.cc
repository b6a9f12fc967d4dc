// The real laconic-worker with real trainer processes, and a session server that the test commands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/core/exit_codes.h"
#include "tests/agent/processes.h"
#include "tests/agent/session_server.h"
#include "tests/testing/paths.h"

namespace laconic::agent {
namespace {

using ::testing::HasSubstr;
using Labels = std::map<std::string, std::string>;

const TaskId kTask{"job1", 1, 0};
const std::string kWorker = testing::bin_dir() + "/laconic-worker";
const std::string kTrainer = testing::bin_dir() + "/fake_trainer";

v1::SessionResponse start(const TaskId& id, const Labels& labels) {
  v1::SessionResponse response;
  v1::StartTask* command = response.mutable_start_task();
  *command->mutable_key() = task_key(id);
  command->set_world_size(1);
  command->set_task_token("0123456789abcdef0123456789abcdef" + to_string(id));
  command->set_peer_token("fedcba9876543210fedcba9876543210");
  command->mutable_job()->mutable_metadata()->mutable_labels()->insert(labels.begin(),
                                                                       labels.end());
  return response;
}
v1::SessionResponse launch(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_launch_task()->mutable_key() = task_key(id);
  response.mutable_launch_task()->mutable_launch()->set_generation(id.generation);
  return response;
}
v1::SessionResponse stop(const TaskId& id, int grace_ms) {
  v1::SessionResponse response;
  *response.mutable_stop_task()->mutable_key() = task_key(id);
  response.mutable_stop_task()->mutable_grace()->set_seconds(grace_ms / 1000);
  response.mutable_stop_task()->mutable_grace()->set_nanos(grace_ms % 1000 * 1000000);
  return response;
}
v1::SessionResponse release(const TaskId& id) {
  v1::SessionResponse response;
  *response.mutable_release_task()->mutable_key() = task_key(id);
  return response;
}

class WorkerTest : public ::testing::Test {
 protected:
  std::vector<std::string> argv(const std::string& trainer) const {
    return {kWorker,   "--server",    server_.address(), "--name",       "node-1",
            "--slots", "2",           "--work-dir",      work_dir(),     "--trainer",
            trainer,   "--peer-host", "127.0.0.1",       "--ready-file", directory_ / "ready"};
  }
  void start_worker(const std::string& trainer = kTrainer) {
    worker_ = std::make_unique<Child>(argv(trainer), log_path());
    ASSERT_TRUE(registered(1)) << read_file(log_path());
  }
  bool registered(size_t times) {
    return server_.hears([=](const Heard& heard) { return heard.registrations.size() >= times; });
  }
  // The trainer's process, once it has said Hello.
  int start_trainer(const TaskId& id, const Labels& labels) {
    server_.send(start(id, labels));
    EXPECT_TRUE(server_.hears([&](const Heard& heard) {
      return heard.has_report(id, v1::TrainerReport::kHello);
    })) << read_file(log_path());
    return server_.heard().pid_of(id);
  }
  v1::RankExit exit_of(const TaskId& id, absl::Duration patience = kPatience) {
    EXPECT_TRUE(server_.hears([&](const Heard& h) { return h.exit_of(id) != nullptr; }, patience))
        << read_file(log_path());
    const Heard heard = server_.heard();
    return heard.exit_of(id) == nullptr ? v1::RankExit() : *heard.exit_of(id);
  }
  bool heartbeats_go_on() {
    const int before = server_.heard().heartbeats;
    return server_.hears([=](const Heard& heard) { return heard.heartbeats > before; });
  }
  std::string work_dir() const { return directory_ / "work"; }
  std::string log_path() const { return directory_ / "worker.log"; }

  TemporaryDirectory directory_;
  SessionServer server_;
  std::unique_ptr<Child> worker_;
};

TEST_F(WorkerTest, RegistersBeatsAndWritesTheReadyFile) {
  start_worker();
  EXPECT_TRUE(heartbeats_go_on());
  const Heard heard = server_.heard();
  EXPECT_EQ(heard.registrations[0].node(), "node-1");
  EXPECT_EQ(heard.registrations[0].slots(), 2);
  EXPECT_EQ(heard.registrations[0].incarnation().size(), 16u);
  EXPECT_THAT(read_file(directory_ / "ready"), HasSubstr("\"name\":\"node-1\",\"socket\":\"unix:"));
}

TEST_F(WorkerTest, TaskRunsFromHelloToFinished) {
  start_worker();
  const int pid = start_trainer(kTask, {{"then", "finish"}, {"print", "hello\n"}});
  EXPECT_GT(pid, 0);
  server_.send(launch(kTask));
  const v1::RankExit exit = exit_of(kTask);
  EXPECT_EQ(exit.exit_code(), 0);
  EXPECT_EQ(exit.signal(), 0);
  const Heard heard = server_.heard();
  EXPECT_TRUE(heard.has_report(kTask, v1::TrainerReport::kHistory));
  EXPECT_TRUE(heard.has_report(kTask, v1::TrainerReport::kFinished));
  EXPECT_TRUE(heard.updates.back().has_exit());
  EXPECT_EQ(heard.out.at(kTask), "hello\n");
}

TEST_F(WorkerTest, KilledTrainerIsReportedWithItsSignalAndLastLinesWithinASecond) {
  start_worker();
  const int pid = start_trainer(kTask, {{"error", "line 1\nline 2\n"}});
  const absl::Time killed = absl::Now();
  kill(pid, SIGKILL);
  const v1::RankExit exit = exit_of(kTask);
  EXPECT_LT(absl::Now() - killed, absl::Seconds(1));
  EXPECT_EQ(exit.signal(), SIGKILL);
  EXPECT_THAT(exit.last_lines(), ::testing::ElementsAre("line 1", "line 2"));
  EXPECT_EQ(server_.heard().err.at(kTask), "line 1\nline 2\n");
}

TEST_F(WorkerTest, ExitCodeAndCrashAreTold) {
  start_worker();
  const TaskId other{"job2", 1, 0};
  server_.send(start(kTask, {{"then", "exit"}, {"exit_code", "75"}}));
  EXPECT_EQ(exit_of(kTask).exit_code(), 75);
  server_.send(start(other, {{"then", "crash"}}));
  const v1::RankExit exit = exit_of(other);
  // A sanitizer turns the crash into an exit of its own.
  EXPECT_TRUE(exit.signal() == SIGSEGV || exit.exit_code() != 0);
}

TEST_F(WorkerTest, OutputThatIsNotUtf8DoesNotBreakTheSession) {
  start_worker();
  server_.send(start(kTask, {{"bad_utf8", "yes"}, {"then", "exit"}, {"exit_code", "1"}}));
  EXPECT_THAT(exit_of(kTask).last_lines(),
              ::testing::ElementsAre("bad \xEF\xBF\xBD\xEF\xBF\xBD bytes"));
  EXPECT_EQ(server_.heard().err.at(kTask), "bad \xFF\xFE bytes\n");
  EXPECT_EQ(server_.heard().registrations.size(), 1u);
}

TEST_F(WorkerTest, AllOutputArrivesBeforeTheExit) {
  start_worker();
  server_.send(start(kTask, {{"print_bytes", "1000000"}, {"then", "exit"}, {"exit_code", "0"}}));
  exit_of(kTask);
  const Heard heard = server_.heard();
  EXPECT_EQ(heard.out.at(kTask).size(), 1000000u);
  EXPECT_FALSE(heard.gap_in_log);
}

TEST_F(WorkerTest, OutputThatTheServerCouldNotWriteComesAgain) {
  start_worker();
  start_trainer(kTask, {{"print", "one\ntwo\n"}});
  ASSERT_TRUE(server_.hears([](const Heard& heard) {
    return heard.out.contains(kTask) && heard.out.at(kTask) == "one\ntwo\n";
  }));
  v1::SessionResponse again;
  *again.mutable_resend_log()->mutable_key() = task_key(kTask);
  again.mutable_resend_log()->set_source(v1::STDOUT);
  again.mutable_resend_log()->set_offset(4);
  server_.send(again);
  EXPECT_TRUE(server_.hears([](const Heard& heard) { return heard.logs_repeated == 1; }));
  EXPECT_EQ(server_.heard().out.at(kTask), "one\ntwo\n");
  EXPECT_EQ(server_.heard().registrations.size(), 1u);
}

TEST_F(WorkerTest, StopEndsATrainerThatWaits) {
  start_worker();
  const int pid = start_trainer(kTask, {});
  server_.send(stop(kTask, 5000));
  exit_of(kTask);
  EXPECT_TRUE(ends(pid, absl::ZeroDuration()));
}

TEST_F(WorkerTest, HangingTrainerIsKilledAfterTheGrace) {
  start_worker();
  const int pid = start_trainer(kTask, {{"then", "hang"}});
  server_.send(stop(kTask, 100));
  EXPECT_EQ(exit_of(kTask).signal(), SIGKILL);
  EXPECT_TRUE(ends(pid, absl::ZeroDuration()));
}

TEST_F(WorkerTest, ProcessThatLeftItsGroupIsGoneWhenTheExitArrives) {
  start_worker();
  const std::string file = directory_ / "detached";
  const int pid = start_trainer(kTask, {{"detach", file}});
  kill(pid, SIGKILL);
  exit_of(kTask);
  EXPECT_TRUE(ends(std::stoi(read_file(file)), absl::ZeroDuration()));
}

TEST_F(WorkerTest, StaleStopIsAnsweredAndTheNewGenerationLives) {
  start_worker();
  const TaskId newer{"job1", 2, 0};
  const int pid = start_trainer(newer, {});
  server_.send(stop(kTask, 0));
  EXPECT_NE(exit_of(kTask).signal(), 0);
  EXPECT_FALSE(ends(pid, absl::ZeroDuration()));
}

TEST_F(WorkerTest, WrongTokenIsRefused) {
  start_worker();
  server_.send(start(kTask, {{"token", "wrong"}}));
  const v1::RankExit exit = exit_of(kTask);
  EXPECT_EQ(exit.exit_code(), 5);
  EXPECT_THAT(exit.last_lines(), ::testing::Contains("refused: 16"));  // UNAUTHENTICATED
  EXPECT_FALSE(server_.heard().has_report(kTask, v1::TrainerReport::kHello));
}

TEST_F(WorkerTest, MissingTrainerIsAFailureThatSaysHowToMendItAndTheWorkerStays) {
  start_worker("/does/not/exist/laconic-trainer");
  server_.send(start(kTask, {}));
  EXPECT_EQ(exit_of(kTask).exit_code(), kExitNotSpawned);
  const Heard heard = server_.heard();
  ASSERT_TRUE(heard.has_report(kTask, v1::TrainerReport::kFailure));
  EXPECT_THAT(
      heard.updates[0].report().failure().message(),
      ::testing::AllOf(HasSubstr("/does/not/exist/laconic-trainer"), HasSubstr("--trainer")));
  EXPECT_TRUE(heartbeats_go_on());
}

TEST_F(WorkerTest, JobIdThatWouldLeaveTheWorkDirectoryIsRefused) {
  start_worker();
  const TaskId evil{"../evil", 1, 0};
  server_.send(start(evil, {}));
  EXPECT_EQ(exit_of(evil).exit_code(), kExitNotSpawned);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "evil"));
}

TEST_F(WorkerTest, ServerRestartDisturbsNoTrainerAndTheSnapshotHoldsAll) {
  start_worker();
  const int pid = start_trainer(kTask, {{"print", "before\n"}});
  server_.send(launch(kTask));
  ASSERT_TRUE(server_.hears([](const Heard& heard) {
    return heard.has_report(kTask, v1::TrainerReport::kHistory) && heard.out.contains(kTask);
  }));
  server_.stop();
  EXPECT_FALSE(ends(pid, absl::ZeroDuration()));
  server_.set_offset(kTask, v1::STDOUT, 4);
  server_.restart();
  ASSERT_TRUE(registered(2)) << read_file(log_path());
  const Heard heard = server_.heard();
  EXPECT_EQ(heard.registrations[0].incarnation(), heard.registrations[1].incarnation());
  ASSERT_EQ(heard.registrations[1].tasks_size(), 1);
  const v1::TaskSnapshot& task = heard.registrations[1].tasks(0);
  EXPECT_EQ(task.pid(), pid);
  EXPECT_TRUE(task.launched());
  EXPECT_TRUE(task.has_hello());
  EXPECT_GE(task.history_size(), 1);
  EXPECT_FALSE(task.has_exit());
  EXPECT_FALSE(ends(pid, absl::ZeroDuration()));
  server_.send(stop(kTask, 5000));
  exit_of(kTask);
  EXPECT_EQ(server_.heard().out.at(kTask), "before\n");
}

TEST_F(WorkerTest, TrainerThatDiedWhileTheServerWasAwayIsReportedAfterItsReturn) {
  start_worker();
  const int pid = start_trainer(kTask, {{"error", "last words\n"}});
  server_.stop();
  kill(pid, SIGKILL);
  ASSERT_TRUE(ends(pid));
  server_.restart();
  EXPECT_EQ(exit_of(kTask).signal(), SIGKILL);
  EXPECT_THAT(server_.heard().err.at(kTask), HasSubstr("last words\n"));
}

TEST_F(WorkerTest, ReleasedTaskLeavesNothingBehind) {
  start_worker();
  server_.send(start(kTask, {{"then", "exit"}, {"exit_code", "0"}, {"print", "x"}}));
  exit_of(kTask);
  server_.send(release(kTask));
  // Commands are handled in order, so the answer to the next one shows that the release is done.
  const TaskId unknown{"job9", 1, 0};
  server_.send(stop(unknown, 0));
  exit_of(unknown);
  EXPECT_FALSE(std::filesystem::exists(work_dir() + "/job1"));
}

TEST_F(WorkerTest, KilledWorkerLeavesNoTrainer) {
  start_worker();
  const int pid = start_trainer(kTask, {{"then", "hang"}});
  worker_->signal(SIGKILL);
  EXPECT_TRUE(ends(pid));
}

TEST_F(WorkerTest, TerminatedWorkerEndsItsTrainersTellsTheServerAndExitsWithZero) {
  start_worker();
  const int pid = start_trainer(kTask, {{"then", "hang"}});
  worker_->signal(SIGTERM);
  EXPECT_EQ(worker_->wait(), core::kExitOk) << read_file(log_path());
  EXPECT_TRUE(ends(pid, absl::ZeroDuration()));
  EXPECT_EQ(exit_of(kTask).signal(), SIGKILL);
}

TEST_F(WorkerTest, SecondWorkerInTheSameDirectoryIsRefused) {
  start_worker();
  Child second(argv(kTrainer), directory_ / "second.log");
  EXPECT_EQ(second.wait(), core::kExitUsage);
  EXPECT_THAT(read_file(directory_ / "second.log"), HasSubstr("--work-dir"));
}

TEST_F(WorkerTest, WorkerDiesWithItsParent) {
  std::vector<std::string> command = argv(kTrainer);
  command.emplace_back("--die-with-parent");
  std::string script;
  for (const std::string& word : command) {
    script += word + " ";
  }
  Child shell({"/bin/sh", "-c", script + "; true"}, log_path());
  ASSERT_TRUE(registered(1)) << read_file(log_path());
  const int pid = start_trainer(kTask, {});
  shell.signal(SIGKILL);
  EXPECT_TRUE(ends(pid)) << read_file(log_path());
}

struct BadFlags {
  std::vector<std::string> flags;
  std::string says;
};
void PrintTo(const BadFlags& bad, std::ostream* out) {
  *out << bad.says;
}

class BadFlagsTest : public ::testing::TestWithParam<BadFlags> {};

TEST_P(BadFlagsTest, AreRefusedWithTheRemedy) {
  const TemporaryDirectory directory;
  std::vector<std::string> argv = {kWorker};
  argv.insert(argv.end(), GetParam().flags.begin(), GetParam().flags.end());
  Child worker(argv, directory / "log");
  EXPECT_EQ(worker.wait(), core::kExitUsage);
  EXPECT_THAT(read_file(directory / "log"), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    WorkerFlags, BadFlagsTest,
    ::testing::Values(BadFlags{{}, "--server is required"},
                      BadFlags{{"--server", "127.0.0.1"}, "--server"},
                      BadFlags{{"--server", "127.0.0.1:99999"}, "127.0.0.1:99999"},
                      BadFlags{{"--server", "127.0.0.1:0"}, "allowed: 1..65535"},
                      BadFlags{{"--server", "127.0.0.1:1", "--slots", "-1"}, "allowed: 1..1024"},
                      BadFlags{{"--server", "127.0.0.1:1", "--slots", "two"}, "--slots"},
                      BadFlags{{"--server", "127.0.0.1:1", "--name", "a_b"}, "[a-z0-9.-]"},
                      BadFlags{{"--server", "127.0.0.1:1", "--peer-host", "10.0.0.1"},
                               "--insecure"},
                      BadFlags{{"--server", "127.0.0.1:1", "--work-dir", "/proc/no"}, "/proc/no"}));

}  // namespace
}  // namespace laconic::agent
