// `logs -f` and `events -f` across a server that goes away.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <sstream>
#include <thread>

#include "cli/app.h"
#include "tests/cli/scripted_server.h"

namespace laconic::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FollowLogsTest : public ::testing::Test {
 protected:
  // The exit code; what it printed is in out and err.
  int call(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server.address});
    out.str("");
    err.str("");
    Console console{.out = out, .err = err, .interrupt = interrupt};
    return run_command_line(arguments, console);
  }

  // Rank 1 wrote `data`; the file then ends at `end_offset`.
  void add_piece(const std::string& data, int64_t end_offset, uint64_t generation = 1) {
    v1::StreamLogsResponse& piece = server.logs.emplace_back();
    piece.set_rank(1);
    piece.set_source(v1::STDERR);
    piece.set_data(data);
    piece.set_end_offset(end_offset);
    piece.set_generation(generation);
  }
  void add_event(int64_t sequence, const std::string& message) {
    v1::Event& event = server.events.emplace_back();
    event.set_sequence(sequence);
    event.set_reason("TRAINER");
    event.set_message(message);
  }

  // How often the user was told that the server is away.
  int times_told() const {
    int count = 0;
    const std::string text = err.str();
    for (size_t at = text.find("is away"); at != std::string::npos; at = text.find("is away", at)) {
      ++count;
      ++at;
    }
    return count;
  }

  ScriptedServer server;
  Interrupt interrupt;
  std::ostringstream out;
  std::ostringstream err;
};

TEST_F(FollowLogsTest, LogsGoOnInTheMiddleOfALine) {
  add_piece("one\ntw", 6);
  add_piece("o\nthree\n", 14);
  server.breaks = 1;
  EXPECT_EQ(call({"logs", "x", "-f", "--tail", "9"}), 0) << err.str();
  EXPECT_EQ(out.str(), "[1] one\n[1] two\n[1] three\n");
  EXPECT_EQ(times_told(), 1) << err.str();
  ASSERT_EQ(server.logs_request().after_size(), 1);
  EXPECT_EQ(server.logs_request().after(0).rank(), 1);
  EXPECT_EQ(server.logs_request().after(0).source(), v1::STDERR);
  EXPECT_EQ(server.logs_request().after(0).offset(), 6);
  EXPECT_EQ(server.logs_request().after(0).generation(), 1U);
  EXPECT_EQ(server.logs_request().tail_lines(), 9);
}

TEST_F(FollowLogsTest, LineOfAnEarlierAttemptIsNotJoinedWithTheNextOne) {
  add_piece("cut off", 7, /*generation=*/1);
  add_piece("new\n", 4, /*generation=*/2);
  EXPECT_EQ(call({"logs", "x", "-f", "--rank", "1"}), 0);
  EXPECT_EQ(out.str(), "cut off\nnew\n");
}

TEST_F(FollowLogsTest, EventsGoOnBehindTheLastSequence) {
  add_event(1, "first");
  add_event(2, "second");
  add_event(3, "third");
  server.breaks = 2;
  EXPECT_EQ(call({"events", "x", "-f"}), 0) << err.str();
  const std::string text = out.str();
  EXPECT_THAT(text, ::testing::MatchesRegex(".*first\n.*second\n.*third\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_EQ(times_told(), 2) << "it came back in between: " << err.str();
  EXPECT_EQ(server.events_request().after_sequence(), 2);
}

TEST_F(FollowLogsTest, ServerThatStaysAwayEndsTheCommandWithEightWhenTheTimeIsOver) {
  add_piece("one\n", 4);
  add_event(1, "first");
  for (const char* command : {"logs", "events"}) {
    server.breaks = 1;
    server.error = absl::UnavailableError("gone");
    EXPECT_EQ(call({command, "x", "-f", "--timeout", "300ms"}), 8);
    EXPECT_EQ(times_told(), 1) << err.str();
    EXPECT_THAT(err.str(), HasSubstr("cannot reach laconic-server"));
  }
}

TEST_F(FollowLogsTest, AnswerAfterTheReturnIsTheEnd) {
  add_event(1, "first");
  server.breaks = 1;
  server.error = absl::NotFoundError("no job x");
  EXPECT_EQ(call({"events", "x", "-f"}), 4);
  EXPECT_THAT(err.str(), HasSubstr("no job x"));
}

TEST_F(FollowLogsTest, ServerThatWasNeverThereIsNotWaitedFor) {
  server.error = absl::UnavailableError("gone");
  for (const char* command : {"logs", "events"}) {
    EXPECT_EQ(call({command, "x", "-f"}), 8);
    EXPECT_EQ(times_told(), 0) << err.str();
  }
}

TEST_F(FollowLogsTest, WithoutFollowABrokenStreamIsTheEnd) {
  add_piece("one\n", 4);
  add_event(1, "first");
  for (const char* command : {"logs", "events"}) {
    server.breaks = 1;
    EXPECT_EQ(call({command, "x"}), 8);
    EXPECT_EQ(times_told(), 0) << err.str();
  }
}

TEST_F(FollowLogsTest, QuietMeansNoWordOfTheServerBeingAway) {
  add_piece("one\n", 4);
  add_piece("two\n", 8);
  server.breaks = 1;
  EXPECT_EQ(call({"-q", "logs", "x", "-f"}), 0);
  EXPECT_EQ(err.str(), "");
  EXPECT_EQ(out.str(), "[1] one\n[1] two\n");
}

TEST_F(FollowLogsTest, InterruptEndsTheWaitForTheServer) {
  add_piece("one\n", 4);
  server.breaks = 1'000'000;
  // The interrupt counts from when the command begins, so it is repeated until it is heard.
  std::atomic<bool> ended = false;
  std::thread presser([&] {
    while (!ended) {
      interrupt.trigger();
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(call({"logs", "x", "-f", "--timeout", "1h"}), 130);
  ended = true;
  presser.join();
  EXPECT_THAT(err.str(), AllOf(HasSubstr("laconic logs -f x"), Not(HasSubstr("cannot reach"))));
}

}  // namespace
}  // namespace laconic::cli
