#include "cli/app.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "tests/cli/sample_job.h"
#include "tests/cli/scripted_server.h"
#include "tests/testing/paths.h"

namespace laconic::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

Outcome run(const std::vector<std::string>& arguments, Interrupt& interrupt) {
  std::ostringstream out;
  std::ostringstream err;
  Console console{.out = out, .err = err, .interrupt = interrupt};
  const int code = run_command_line(arguments, console);
  return {.code = code, .out = out.str(), .err = err.str()};
}

Outcome run(const std::vector<std::string>& arguments) {
  Interrupt interrupt;
  return run(arguments, interrupt);
}

std::string job_file() {
  return absl::StrCat(testing::source_dir(), "/examples/logistic_regression.yaml");
}

std::string scratch_directory() {
  std::string path = ::testing::TempDir() + "/laconic-cli-XXXXXX";
  return mkdtemp(path.data());
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

class AppTest : public ::testing::Test {
 protected:
  AppTest() { server.job = sample_job(2); }
  Outcome call(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", server.address});
    return run(arguments, interrupt);
  }
  v1::Job in_state(v1::JobState state) {
    v1::Job job = server.job;
    job.set_state(state);
    return job;
  }

  Interrupt interrupt;
  ScriptedServer server;
};

struct CodeCase {
  absl::StatusCode status;
  int exit_code;
};

class ErrorCodeTest : public ::testing::TestWithParam<CodeCase> {};

TEST_P(ErrorCodeTest, EndsWithTheCodeOfTheTable) {
  ScriptedServer server;
  server.error = wire::with_error_info(absl::Status(GetParam().status, "no such thing"),
                                       {.reason = "SOME_REASON", .metadata = {{"id", "a\"b"}}});
  const Outcome plain = run({"status", "x", "--server", server.address});
  EXPECT_EQ(plain.code, GetParam().exit_code);
  EXPECT_EQ(plain.out, "");
  EXPECT_THAT(plain.err, HasSubstr("laconic: no such thing"));
  const Outcome json = run({"status", "x", "-o", "json", "--server", server.address});
  EXPECT_EQ(json.code, GetParam().exit_code);
  EXPECT_THAT(json.out, HasSubstr("\"ok\":false"));
  EXPECT_THAT(json.out, HasSubstr("\"reason\":\"SOME_REASON\",\"message\":\"no such thing\""
                                  ",\"metadata\":{\"id\":\"a\\\"b\"}"));
}

INSTANTIATE_TEST_SUITE_P(AllCodes, ErrorCodeTest,
                         ::testing::Values(CodeCase{absl::StatusCode::kInvalidArgument, 2},
                                           CodeCase{absl::StatusCode::kNotFound, 4},
                                           CodeCase{absl::StatusCode::kUnauthenticated, 5},
                                           CodeCase{absl::StatusCode::kPermissionDenied, 5},
                                           CodeCase{absl::StatusCode::kAlreadyExists, 6},
                                           CodeCase{absl::StatusCode::kFailedPrecondition, 6},
                                           CodeCase{absl::StatusCode::kAborted, 6},
                                           CodeCase{absl::StatusCode::kResourceExhausted, 7},
                                           CodeCase{absl::StatusCode::kUnavailable, 8},
                                           CodeCase{absl::StatusCode::kDeadlineExceeded, 8},
                                           CodeCase{absl::StatusCode::kInternal, 9},
                                           CodeCase{absl::StatusCode::kUnknown, 9},
                                           CodeCase{absl::StatusCode::kDataLoss, 9}));

TEST(ArgumentsTest, BadOnesEndWithTwoAndPointToHelp) {
  const std::vector<std::vector<std::string>> lines = {
      {},
      {"frobnicate"},
      {"status"},
      {"list", "--no-such-option"},
      {"list", "-o", "xml"},
      {"list", "--state", "HAPPY"},
      {"list", "--limit", "0"},
      {"list", "--timeout", "soon"},
      {"logs", "x", "--rank", "-1"},
      {"logs", "x", "--tail", "many"},
      {"wait", "x", "--timeout", "30"},
      {"submit"},
      {"run", "-f", "x.yaml", "--workers", "0"},
      {"completion", "tcsh"},
  };
  for (const auto& line : lines) {
    const Outcome outcome = run(line);
    EXPECT_EQ(outcome.code, 2) << ::testing::PrintToString(line) << outcome.err;
    EXPECT_EQ(outcome.out, "") << ::testing::PrintToString(line);
    EXPECT_THAT(outcome.err, StartsWith("laconic: ")) << ::testing::PrintToString(line);
  }
}

TEST(ArgumentsTest, WordThatIsNoCommandIsNamedWithTheAllowedOnes) {
  const Outcome outcome = run({"trainn"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("'trainn' is no command; allowed: run, submit"));
  EXPECT_THAT(run({"--bogus"}).err, HasSubstr("--bogus is no option"));
}

TEST(ArgumentsTest, ServerWithoutAPortIsRefusedBeforeAnyCall) {
  for (const char* address : {"localhost", "10.0.0.1:", ":7070", "host:99999", "::1"}) {
    const Outcome outcome = run({"list", "--server", address});
    EXPECT_EQ(outcome.code, 2) << address;
    EXPECT_THAT(outcome.err, HasSubstr("give HOST:PORT")) << address;
  }
}

TEST(ArgumentsTest, UsageErrorIsAnEnvelopeInJsonMode) {
  const Outcome outcome = run({"status", "-o", "json"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.out, HasSubstr("\"code\":\"INVALID_ARGUMENT\""));
}

TEST(ArgumentsTest, HelpOfEveryCommandShowsAnExample) {
  Interrupt interrupt;
  std::ostringstream out;
  Console console{.out = out, .err = out, .interrupt = interrupt};
  Session session(console);
  CLI::App app("laconic", "laconic");
  build_app(app, session);
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  EXPECT_GE(commands.size(), 16U);
  for (const CLI::App* command : commands) {
    const Outcome outcome = run({command->get_name(), "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("Example:\n  ")) << command->get_name();
    EXPECT_THAT(outcome.out, HasSubstr("laconic")) << command->get_name();
  }
  EXPECT_THAT(run({"--help"}).out, HasSubstr("Example:"));
}

TEST(ArgumentsTest, MissingOrWrongJobFileEndsWithTwoBeforeAnythingStarts) {
  const std::string directory = scratch_directory();
  for (const std::string command : {"submit", "validate", "run"}) {
    EXPECT_EQ(run({command, "-f", directory + "/none.yaml"}).code, 2) << command;
    EXPECT_EQ(run({command, "-f", directory}).code, 2) << command;
    EXPECT_EQ(run({command, "-f", job_file(), "--set", "spec.train.batch_size=0"}).code, 2);
  }
  EXPECT_EQ(run({"run", "-f", job_file(), "--set", "spec.nope=1", "--out", directory + "/o"}).code,
            2);
  EXPECT_FALSE(std::filesystem::exists(directory + "/o"));
}

TEST(ArgumentsTest, BenchLinkTakesTheSameFilesAndRefusesWhatIsOutOfRange) {
  EXPECT_THAT(run({"bench", "link", "--help"}).out,
              HasSubstr("laconic bench link -f examples/fashion_mnist.yaml"));
  EXPECT_EQ(run({"bench"}).code, 2);
  EXPECT_EQ(run({"bench", "link"}).code, 2);
  EXPECT_EQ(run({"bench", "link", "-f", "/none.yaml"}).code, 2);
  EXPECT_EQ(run({"bench", "link", "-f", job_file(), "--ranks", "0"}).code, 2);
  EXPECT_EQ(run({"bench", "link", "-f", job_file(), "--error-budget", "3"}).code, 2);
  const Outcome away =
      run({"bench", "link", "-f", job_file(), "--server", "127.0.0.1:1", "--timeout", "1s"});
  EXPECT_EQ(away.code, 8);
}

TEST(ArgumentsTest, OutputThatCannotBeADirectoryIsRefused) {
  const Outcome outcome = run({"run", "-f", job_file(), "--out", "/proc/laconic"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("cannot make the directory /proc/laconic"));
}

TEST(ArgumentsTest, RunSaysWhichProgramIsMissing) {
  const Outcome outcome = run({"run", "-f", job_file(), "--out", scratch_directory()});
  EXPECT_EQ(outcome.code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("laconic-server"));
}

TEST(ArgumentsTest, UnreachableServerIsOneLineWithAddressAndRemedy) {
  // Port 1 on loopback: nobody listens there.
  const Outcome outcome = run({"list", "--server", "127.0.0.1:1", "--timeout", "5s"});
  EXPECT_EQ(outcome.code, 8);
  EXPECT_THAT(outcome.err, HasSubstr("cannot reach laconic-server at 127.0.0.1:1"));
  EXPECT_THAT(outcome.err, HasSubstr("--server HOST:PORT"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
}

TEST_F(AppTest, ServerComesFromTheEnvironment) {
  std::ostringstream out;
  std::ostringstream err;
  Console console{
      .out = out, .err = err, .interrupt = interrupt, .server_variable = server.address};
  EXPECT_EQ(run_command_line({"list"}, console), 0) << err.str();
}

TEST_F(AppTest, ListIsAnAlignedTable) {
  const Outcome outcome = call({"list"});
  EXPECT_EQ(outcome.code, 0);
  const std::vector<std::string> lines = absl::StrSplit(outcome.out, '\n');
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[0], StartsWith("ID          NAME           STATE      RANKS  STEP     LOSS"));
  EXPECT_THAT(lines[1], StartsWith("4k2p9x7abc  fashion-mnist  SUCCEEDED  2      700/700  0.210"));
}

TEST_F(AppTest, ListOfAStateThatNoJobHasIsNotAnEmptyServer) {
  server.job.clear_id();
  EXPECT_THAT(call({"list", "--state", "RUNNING"}).err, HasSubstr("no job in this state"));
  EXPECT_THAT(call({"list"}).err, HasSubstr("no jobs; submit one"));
}

TEST_F(AppTest, CancelledJobHasNoCulpritAndNoLastLines) {
  v1::Job job = in_state(v1::CANCELLED);
  job.set_reason("CANCELLED");
  job.mutable_ranks(0)->mutable_exit()->set_exit_code(75);
  job.mutable_ranks(0)->mutable_exit()->add_last_lines("stopped by the worker");
  server.watched = {job};
  const Outcome outcome = call({"watch", "x"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(outcome.out, "job 4k2p9x7abc CANCELLED\n");
}

TEST_F(AppTest, JsonIsOneEnvelope) {
  const Outcome outcome = call({"-o", "json", "list"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, StartsWith("{\"schema_version\":1,\"ok\":true,\"data\":{\"jobs\":["));
  EXPECT_THAT(outcome.out, ::testing::EndsWith("\"warnings\":[]}\n"));
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1);
}

TEST_F(AppTest, SubmitPrintsOnlyTheIdOnStandardOutput) {
  const Outcome outcome = call({"submit", "-f", job_file()});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "4k2p9x7abc\n");
  EXPECT_THAT(outcome.err, HasSubstr("laconic watch 4k2p9x7abc"));
  EXPECT_EQ(call({"-q", "submit", "-f", job_file()}).err, "");
}

TEST_F(AppTest, SubmitRepeatsWithTheSameRequestIdWhileTheServerIsAway) {
  server.unavailable_times = 2;
  EXPECT_EQ(call({"submit", "-f", job_file()}).code, 0);
  const auto created = server.created();
  ASSERT_EQ(created.size(), 3U);
  EXPECT_EQ(created[0].request_id(), created[2].request_id());
  EXPECT_EQ(created[0].request_id().size(), 36U);
  EXPECT_EQ(created[0].request_id()[14], '4');
}

TEST_F(AppTest, SubmitPassesTheGivenRequestIdAndOverrides) {
  EXPECT_EQ(call({"submit", "-f", job_file(), "--request-id", "abc", "--set", "spec.train.steps=7",
                  "--dry-run"})
                .code,
            0);
  ASSERT_EQ(server.created().size(), 1U);
  EXPECT_EQ(server.created()[0].request_id(), "abc");
  EXPECT_EQ(server.created()[0].job().spec().train().steps(), 7);
  EXPECT_TRUE(server.created()[0].validate_only());
}

TEST_F(AppTest, CommandsThatFollowEndWithTheCodeOfTheJob) {
  const std::vector<std::pair<v1::JobState, int>> cases = {
      {v1::SUCCEEDED, 0}, {v1::FAILED, 1}, {v1::CANCELLED, 3}};
  for (const auto& [state, code] : cases) {
    server.watched = {in_state(v1::RUNNING), in_state(state)};
    EXPECT_EQ(call({"wait", "x"}).code, code);
    EXPECT_EQ(call({"watch", "x"}).code, code);
    EXPECT_EQ(call({"submit", "-f", job_file(), "--wait"}).code, code);
    EXPECT_EQ(call({"submit", "-f", job_file(), "--follow"}).code, code);
  }
}

TEST_F(AppTest, WaitEndsWith124WhenItsTimeIsOver) {
  server.watched = {in_state(v1::RUNNING)};
  server.hold_watch = true;
  const Outcome outcome = call({"wait", "x", "--timeout", "200ms"});
  EXPECT_EQ(outcome.code, 124);
  EXPECT_THAT(outcome.err, HasSubstr("still RUNNING"));
}

TEST_F(AppTest, InterruptDetachesAndTellsHowToReturn) {
  server.watched = {in_state(v1::RUNNING)};
  server.hold_watch = true;
  // The interrupt counts from when the command begins, so it is repeated until it is heard.
  std::atomic<bool> ended = false;
  std::thread presser([&] {
    while (!ended) {
      interrupt.trigger();
      std::this_thread::yield();
    }
  });
  const Outcome outcome = call({"watch", "4k2p9x7abc"});
  ended = true;
  presser.join();
  EXPECT_EQ(outcome.code, 130);
  EXPECT_THAT(outcome.err, HasSubstr("laconic watch 4k2p9x7abc"));
}

TEST_F(AppTest, WatchInJsonEndsWithATerminalLine) {
  server.watched = {in_state(v1::RUNNING), in_state(v1::SUCCEEDED)};
  const Outcome outcome = call({"watch", "x", "-o", "json"});
  const std::vector<std::string> lines = absl::StrSplit(outcome.out, '\n');
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[0], HasSubstr("\"terminal\":false"));
  EXPECT_THAT(lines[1], HasSubstr("\"terminal\":true"));
}

TEST_F(AppTest, StreamErrorInJsonIsTerminal) {
  server.error = absl::NotFoundError("no job x");
  const Outcome outcome = call({"watch", "x", "-o", "json"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.out, HasSubstr("\"ok\":false,\"terminal\":true"));
}

TEST_F(AppTest, LogsJoinPiecesIntoLinesAndNameTheRank) {
  v1::StreamLogsResponse piece;
  piece.set_rank(1);
  piece.set_source(v1::STDOUT);
  piece.set_data("first\nsec");
  server.logs.push_back(piece);
  piece.set_data("ond");
  server.logs.push_back(piece);
  EXPECT_EQ(call({"logs", "x"}).out, "[1] first\n[1] second\n");
  EXPECT_EQ(call({"logs", "x", "--rank", "1", "--tail", "5", "--stderr", "-f"}).out,
            "first\nsecond\n");
  EXPECT_EQ(server.logs_request().rank(), 1);
  EXPECT_EQ(server.logs_request().tail_lines(), 5);
  EXPECT_EQ(server.logs_request().source(), v1::STDERR);
  EXPECT_TRUE(server.logs_request().follow());
}

TEST_F(AppTest, EventsAreLinesOrOneEnvelopeOrAStream) {
  v1::Event event;
  event.set_sequence(1);
  event.set_reason("RANK_READY");
  event.set_message("loaded");
  event.set_rank(3);
  server.events = {event};
  EXPECT_THAT(call({"events", "x"}).out, HasSubstr("RANK_READY  rank 3  loaded\n"));
  EXPECT_THAT(call({"events", "x", "-o", "json"}).out, HasSubstr("\"data\":{\"events\":[{"));
  EXPECT_THAT(call({"events", "x", "-f", "-o", "json"}).out,
              HasSubstr("\"terminal\":true,\"data\":{\"events\":1}}\n"));
}

TEST_F(AppTest, WhyShowsReasonPositionAndSlots) {
  server.explanation.set_reason("NOT_ENOUGH_SLOTS");
  server.explanation.set_message("wants 8 slots, 4 exist");
  server.explanation.set_position(1);
  server.explanation.set_slots_wanted(8);
  server.explanation.set_slots_total(4);
  const Outcome outcome = call({"why", "x"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("NOT_ENOUGH_SLOTS: wants 8 slots, 4 exist"));
  EXPECT_THAT(outcome.out, HasSubstr("wants 8; 0 of 4"));
}

TEST_F(AppTest, FailedJobShowsTheRankThatFailedAndItsLastLines) {
  v1::Job job = in_state(v1::FAILED);
  job.set_reason("RANK_FAILED");
  v1::Rank& peer = *job.mutable_ranks(0);
  peer.clear_finished();
  peer.mutable_failure()->set_reason("PEER_LOST");
  peer.mutable_exit()->set_exit_code(75);
  v1::Rank& culprit = *job.mutable_ranks(1);
  culprit.clear_finished();
  culprit.mutable_exit()->set_signal(9);
  for (int line = 0; line < 40; ++line) {
    culprit.mutable_exit()->add_last_lines(absl::StrCat("line ", line, "."));
  }
  culprit.mutable_exit()->add_last_lines("out of \x1b[31mmemory");
  server.watched = {job};
  const Outcome outcome = call({"wait", "x"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("rank 1 on worker node-1 (process 1001): killed by signal 9 "
                                     "(SIGKILL)"));
  EXPECT_THAT(outcome.err, HasSubstr("| out of ?[31mmemory"));
  EXPECT_THAT(outcome.err, HasSubstr("| line 26."));
  EXPECT_THAT(outcome.err, Not(HasSubstr("| line 25.")));
}

TEST_F(AppTest, JobThatCanGoOnSaysSo) {
  const std::string hint = "run the same job again: it goes on after its last checkpoint";
  v1::Job job = in_state(v1::FAILED);
  job.set_reason("WORKER_LOST");
  server.watched = {job};
  EXPECT_THAT(call({"wait", "x"}).err, Not(HasSubstr(hint)));
  job.mutable_job()->mutable_spec()->mutable_train()->mutable_checkpoint();
  server.watched = {job};
  EXPECT_THAT(call({"wait", "x"}).err, HasSubstr(hint));
  for (const char* reason : {"DIVERGED", "BAD_CHECKPOINT"}) {
    job.set_reason(reason);
    server.watched = {job};
    EXPECT_THAT(call({"wait", "x"}).err, Not(HasSubstr(hint))) << reason;
  }
}

TEST_F(AppTest, ReportWritesBothFiles) {
  const std::string directory = scratch_directory() + "/a/b";
  EXPECT_EQ(call({"report", "x", "--out", directory}).code, 0);
  EXPECT_THAT(read(directory + "/report.json"), HasSubstr("\"world_size\": 2"));
  EXPECT_THAT(read(directory + "/report.html"), HasSubstr("<svg"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 2);
}

TEST_F(AppTest, NodesCancelDeleteAndVersionAnswer) {
  v1::Node& node = *server.nodes.add_nodes();
  node.set_name("alpha");
  node.set_state(v1::LIVE);
  node.set_slots(4);
  EXPECT_THAT(call({"nodes", "list"}).out, HasSubstr("alpha  LIVE   4"));
  EXPECT_EQ(call({"nodes"}).code, 0);
  EXPECT_EQ(call({"cancel", "x"}).out, "4k2p9x7abc SUCCEEDED\n");
  EXPECT_THAT(call({"cancel", "x", "-o", "json"}).out,
              HasSubstr("\"data\":{\"id\":\"4k2p9x7abc\""));
  EXPECT_EQ(call({"delete", "x"}).err, "job x is deleted\n");
  EXPECT_THAT(call({"delete", "x", "-o", "json"}).out, HasSubstr("\"data\":{}"));
  EXPECT_EQ(run({"version"}).out, "laconic 0.1.0\n");
  EXPECT_THAT(call({"version", "--server-info"}).out, HasSubstr("laconic-server 0.1.0"));
}

TEST(CompletionTest, BashAcceptsTheScriptAndItKnowsEveryCommand) {
  const Outcome outcome = run({"completion", "bash"});
  ASSERT_EQ(outcome.code, 0);
  const std::string path = scratch_directory() + "/laconic.bash";
  std::ofstream(path) << outcome.out
                      << "COMP_WORDS=(laconic logs --ta); COMP_CWORD=2; _laconic; "
                         "echo \"${COMPREPLY[@]}\"\n"
                      << "COMP_WORDS=(laconic nodes list -o j); COMP_CWORD=4; _laconic; "
                         "echo \"${COMPREPLY[@]}\"\n"
                      << "COMP_WORDS=(laconic bench link --err); COMP_CWORD=3; _laconic; "
                         "echo \"${COMPREPLY[@]}\"\n"
                      << "COMP_WORDS=(laconic wat); COMP_CWORD=1; _laconic; "
                         "echo \"${COMPREPLY[@]}\"\n";
  EXPECT_EQ(std::system(absl::StrCat("bash -n ", path).c_str()), 0);
  FILE* pipe = popen(absl::StrCat("bash ", path).c_str(), "r");
  std::string said(1000, '\0');
  said.resize(fread(said.data(), 1, said.size(), pipe));
  EXPECT_EQ(pclose(pipe), 0);
  EXPECT_EQ(said, "--tail\njson\n--error-budget\nwatch\n");
}

TEST(CompletionTest, OtherShellsGetEveryCommandAndOption) {
  for (const std::string shell : {"zsh", "fish"}) {
    const std::string script = run({"completion", shell}).out;
    for (const char* word : {"submit", "logs", "nodes", "completion", "tail", "request-id"}) {
      EXPECT_THAT(script, HasSubstr(word)) << shell;
    }
  }
}

}  // namespace
}  // namespace laconic::cli
