// A coordinator whose time the tests move.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {

namespace fixture = ::laconic::server::testing;

class CoordinatorTest : public ::testing::Test {
 protected:
  Coordinator make() {
    return Coordinator(limits_, [this] { return absl::StrCat("token", ++tokens_); });
  }
  std::unique_ptr<Coordinator> make_owned() {
    return std::make_unique<Coordinator>(limits_,
                                         [this] { return absl::StrCat("token", ++tokens_); });
  }
  void submit(const std::string& id, int workers) {
    ASSERT_OK(coordinator_->submit(fixture::job_of(workers, "name-" + id), id, now_));
  }
  void submit(const std::string& id, v1::TrainJob job) {
    ASSERT_OK(coordinator_->submit(job, id, now_));
  }
  void node(const std::string& name, int slots, const std::string& incarnation = "first") {
    ASSERT_OK(
        coordinator_->enter(fixture::registration(name, slots, incarnation), ++session_, now_));
    sessions_[name] = session_;
  }
  void lose(const std::string& name) { coordinator_->leave(name, sessions_[name], now_); }
  // Moves time in steps below the session silence, with heartbeats of all live nodes.
  void pass(absl::Duration duration) {
    const absl::Time end = now_ + duration;
    while (now_ < end) {
      now_ = std::min(end, now_ + absl::Seconds(1));
      for (const auto& [name, session] : sessions_) {
        coordinator_->heard(name, session, now_);
      }
      coordinator_->tick(now_);
    }
  }
  void tick() { coordinator_->tick(now_); }
  const v1::Job& job(const std::string& id) const { return coordinator_->find(id)->job; }
  TaskId task(const std::string& id, int rank) const { return {id, job(id).generation(), rank}; }
  void report(const v1::TaskUpdate& update) {
    const std::string& id = update.key().job_id();
    coordinator_->update(job(id).ranks(update.key().rank()).node(), update, now_);
  }
  // Brings a submitted job to RUNNING.
  void run(const std::string& id) {
    tick();
    for (int rank = 0; rank < job(id).ranks_size(); ++rank) {
      report(fixture::pid_of(task(id, rank)));
      report(fixture::hello_of(task(id, rank)));
    }
    ASSERT_EQ(job(id).state(), v1::RUNNING);
  }
  void end_all(const std::string& id, int code = 0) {
    for (int rank = 0; rank < job(id).ranks_size(); ++rank) {
      report(fixture::exit_of(task(id, rank), code));
    }
  }
  int commands(v1::SessionResponse::MessageCase kind) {
    int count = 0;
    for (const Command& command : coordinator_->take().commands) {
      count += command.message.message_case() == kind ? 1 : 0;
    }
    return count;
  }
  bool has_event(const std::string& id, const std::string& reason) const {
    const auto& events = coordinator_->find(id)->events;
    return std::any_of(events.begin(), events.end(),
                       [&](const auto& event) { return event.reason() == reason; });
  }
  int slots_held(const std::string& name) {
    return static_cast<int>(coordinator_->membership().nodes().at(name).tasks.size());
  }
  wire::Timeouts timeouts(const std::string& id) const {
    return wire::derive_timeouts(job(id).job());
  }

  Limits limits_;
  int tokens_ = 0;
  uint64_t session_ = 0;
  std::map<std::string, uint64_t> sessions_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  std::unique_ptr<Coordinator> coordinator_ = make_owned();
};

}  // namespace laconic::server
