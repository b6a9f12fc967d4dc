#include "worker/agent/session.h"

#include <gtest/gtest.h>

#include "tests/agent/session_server.h"
#include "worker/agent/monotonic_clock.h"

namespace laconic::agent {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  Session::Calls calls() {
    return {.make_register =
                [this] {
                  v1::Register message;
                  message.set_node("node-1");
                  message.set_slots(++attempts_);
                  return message;
                },
            .on_message = [this](const v1::SessionResponse& m) { messages_.push_back(m); }};
  }

  // Runs the session with its clock moved on by `ahead` until `holds`.
  bool runs_until(const std::function<bool()>& holds, absl::Duration ahead = {}) {
    const absl::Time until = absl::Now() + kPatience;
    while (!holds() && absl::Now() < until) {
      session_.tick(monotonic_now() + ahead);
      pollfd item{.fd = inbox_.fd(), .events = POLLIN, .revents = 0};
      poll(&item, 1, /*timeout=*/10);
      inbox_.run_all();
    }
    return holds();
  }
  size_t registrations() { return server_.heard().registrations.size(); }

  int attempts_ = 0;
  std::vector<v1::SessionResponse> messages_;
  SessionServer server_;
  Inbox inbox_;
  Session session_{inbox_, server_.address(), /*seed=*/1, calls()};
};

TEST_F(SessionTest, WelcomeMakesItRegistered) {
  EXPECT_FALSE(session_.send({}));
  EXPECT_TRUE(runs_until([&] { return session_.registered(); }));
  EXPECT_TRUE(messages_.at(0).has_welcome());
}

TEST_F(SessionTest, EachNewStreamAsksForANewRegistration) {
  ASSERT_TRUE(runs_until([&] { return session_.registered(); }));
  server_.stop();
  ASSERT_TRUE(runs_until([&] { return !session_.registered(); }));
  server_.restart();
  ASSERT_TRUE(runs_until([&] { return session_.registered(); }));
  const Heard heard = server_.heard();
  EXPECT_GT(heard.registrations.back().slots(), heard.registrations.front().slots());
}

TEST_F(SessionTest, ServerThatNeverAnswersIsGivenUpAndTriedAgain) {
  server_.set_silent(true);
  ASSERT_TRUE(runs_until([&] { return registrations() == 1; }));
  EXPECT_FALSE(session_.registered());
  server_.set_silent(false);
  ASSERT_TRUE(runs_until([&] { return registrations() >= 2; }, kSilenceMax + absl::Seconds(1)));
  EXPECT_TRUE(runs_until([&] { return session_.registered(); }));
}

TEST_F(SessionTest, FullQueueTakesNoMoreAndAServerThatDoesNotReadIsGivenUp) {
  server_.set_deaf(true);
  ASSERT_TRUE(runs_until([&] { return session_.registered(); }));
  v1::SessionRequest request;
  request.mutable_log_chunk()->set_data(std::string(1 << 20, 'x'));
  size_t taken = 0;
  while (taken < 1000 && session_.send(request)) {
    ++taken;
    EXPECT_LE(session_.queued(), kSendQueueMax);
  }
  EXPECT_GE(taken, kSendQueueMax);
  EXPECT_LT(taken, 1000u);
  EXPECT_TRUE(runs_until([&] { return !session_.registered(); }, kSilenceMax + absl::Seconds(1)));
}

TEST_F(SessionTest, FinishSendsWhatIsQueuedAndOpensNoOther) {
  ASSERT_TRUE(runs_until([&] { return session_.registered(); }));
  v1::SessionRequest request;
  request.mutable_task_update()->set_pid(1);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(session_.send(request));
  }
  session_.finish();
  EXPECT_FALSE(session_.send(request));
  ASSERT_TRUE(runs_until([&] { return session_.finished(); }));
  EXPECT_EQ(server_.heard().updates.size(), 20u);
  session_.tick(absl::InfiniteFuture());
  EXPECT_TRUE(session_.finished());
}

}  // namespace
}  // namespace laconic::agent
