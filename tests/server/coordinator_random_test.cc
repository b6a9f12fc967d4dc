// Random histories: whatever users, workers and time do, the invariants of the coordinator hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

namespace fixture = ::laconic::server::testing;

// Workers that do what a laconic-worker does, and die, get cut off, and come back.
struct Worker {
  std::string name;
  int slots = 0;
  int incarnation = 0;
  uint64_t session = 0;                      // 0: not connected
  std::map<TaskId, v1::TaskSnapshot> tasks;  // what it would register with
};

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed), coordinator_(Limits(), [this] { return absl::StrCat(++tokens_); }) {
    for (int i = 0; i < 3; ++i) {
      workers_.push_back({absl::StrCat("n", i), 1 + static_cast<int>(random_.below(4)), 0, 0, {}});
      connect(workers_.back());
    }
  }

  void step() {
    now_ += absl::Milliseconds(static_cast<int64_t>(random_.below(2000)));
    switch (random_.below(12)) {
      case 0:
      case 1:
        submit();
        break;
      case 2:
        cancel();
        break;
      case 3:
        cut(pick());
        break;
      case 4:
        kill(pick());
        break;
      case 5:
        connect(pick());
        break;
      default:
        report(pick());
    }
    beat();
    coordinator_.tick(now_);
    deliver();
    check();
  }

  // Everybody is back, all trainers end, and time goes on: every job must become final.
  void settle() {
    for (int round = 0; round < 400; ++round) {
      now_ += absl::Seconds(1);
      for (Worker& worker : workers_) {
        connect(worker);
        for (int i = 0; i < 8; ++i) {
          report(worker);
        }
      }
      beat();
      coordinator_.tick(now_);
      deliver();
      check();
    }
    for (const auto& [id, record] : coordinator_.jobs()) {
      ASSERT_TRUE(is_final(record.job.state()) || record.job.state() == v1::QUEUED)
          << record.job.ShortDebugString();
      if (record.job.state() == v1::QUEUED) {
        ASSERT_EQ(record.job.reason(), "NOT_ENOUGH_SLOTS") << record.job.ShortDebugString();
      }
    }
    for (const auto& [name, node] : coordinator_.membership().nodes()) {
      ASSERT_TRUE(node.tasks.empty()) << name << " still holds " << node.tasks.begin()->job_id;
    }
  }

 private:
  Worker& pick() { return workers_[random_.below(workers_.size())]; }

  void submit() {
    const std::string id = absl::StrCat("job", ++jobs_);
    v1::TrainJob job = fixture::job_of(1 + static_cast<int>(random_.below(6)));
    job.mutable_spec()->mutable_limits()->mutable_active_deadline()->set_seconds(120);
    ASSERT_OK(coordinator_.submit(job, id, now_));
  }
  void cancel() {
    if (jobs_ > 0) {
      // Final jobs refuse, which is right.
      coordinator_
          .cancel(absl::StrCat("job", 1 + random_.below(static_cast<uint64_t>(jobs_))), now_)
          .IgnoreError();
    }
  }
  void cut(Worker& worker) {
    coordinator_.leave(worker.name, std::exchange(worker.session, 0), now_);
  }
  void kill(Worker& worker) {
    cut(worker);
    worker.tasks.clear();  // Its trainers die with it.
    ++worker.incarnation;
  }
  void connect(Worker& worker) {
    if (worker.session != 0) {
      return;
    }
    v1::Register request =
        fixture::registration(worker.name, worker.slots, absl::StrCat("life", worker.incarnation));
    for (const auto& [id, snapshot] : worker.tasks) {
      *request.add_tasks() = snapshot;
    }
    ASSERT_OK(coordinator_.enter(request, ++sessions_, now_));
    worker.session = sessions_;
    deliver();
  }
  void beat() {
    for (const Worker& worker : workers_) {
      if (worker.session != 0) {
        coordinator_.heard(worker.name, worker.session, now_);
      }
    }
  }

  // One of the worker's trainers takes its next step: pid, hello, then an end of some kind.
  void report(Worker& worker) {
    if (worker.tasks.empty()) {
      return;
    }
    auto it = worker.tasks.begin();
    std::advance(it, static_cast<int64_t>(random_.below(worker.tasks.size())));
    auto& [id, snapshot] = *it;
    if (snapshot.has_exit()) {
      return;
    }
    v1::TaskUpdate update;
    if (snapshot.pid() == 0) {
      update = fixture::pid_of(id);
      snapshot.set_pid(update.pid());
    } else if (!snapshot.has_hello()) {
      update = fixture::hello_of(id, /*layout=*/random_.below(40) == 0 ? 8 : 7);
      *snapshot.mutable_hello() = update.report().hello();
    } else if (snapshot.has_finished() || snapshot.has_failure() || random_.below(8) == 0) {
      update = fixture::exit_of(id, snapshot.has_finished() ? 0 : 1);
      *snapshot.mutable_exit() = update.exit();
    } else if (random_.below(6) == 0) {
      update = fixture::failure_of(id, random_.below(2) == 0 ? "PEER_LOST" : "BAD_DATA", 0);
      *snapshot.mutable_failure() = update.report().failure();
    } else if (snapshot.launched()) {
      update = fixture::finished_of(id, /*digest=*/random_.below(40) == 0 ? 1 : 2);
      *snapshot.mutable_finished() = update.report().finished();
    } else {
      return;
    }
    if (worker.session != 0) {
      coordinator_.update(worker.name, update, now_);
      deliver();
    }
  }

  void deliver() {
    for (bool more = true; more;) {
      const Effects effects = coordinator_.take();
      for (const Command& command : effects.commands) {
        for (Worker& worker : workers_) {
          if (worker.name == command.node && worker.session != 0) {
            obey(worker, command.message);
          }
        }
      }
      more = !effects.commands.empty();
    }
  }
  void obey(Worker& worker, const v1::SessionResponse& message) {
    switch (message.message_case()) {
      case v1::SessionResponse::kStartTask:
        *worker.tasks[task_id(message.start_task().key())].mutable_key() =
            message.start_task().key();
        return;
      case v1::SessionResponse::kLaunchTask:
        if (auto it = worker.tasks.find(task_id(message.launch_task().key()));
            it != worker.tasks.end()) {
          it->second.set_launched(true);
        }
        return;
      case v1::SessionResponse::kStopTask: {
        const TaskId id = task_id(message.stop_task().key());
        v1::TaskUpdate update = fixture::exit_of(id, 0, 15);
        if (auto it = worker.tasks.find(id); it != worker.tasks.end() && !it->second.has_exit()) {
          *it->second.mutable_exit() = update.exit();
        }
        coordinator_.update(worker.name, update, now_);
        return;
      }
      case v1::SessionResponse::kReleaseTask:
        worker.tasks.erase(task_id(message.release_task().key()));
        return;
      default:
        return;
    }
  }

  void check() {
    std::map<std::string, int> held;
    for (const auto& [name, node] : coordinator_.membership().nodes()) {
      ASSERT_LE(static_cast<int>(node.tasks.size()), node.slots) << name << " is over-committed";
      for (const TaskId& task : node.tasks) {
        const JobRecord* record = coordinator_.find(task.job_id);
        ASSERT_NE(record, nullptr);
        ASSERT_LE(task.generation, record->job.generation());
      }
    }
    for (const auto& [id, record] : coordinator_.jobs()) {
      const v1::Job& job = record.job;
      ASSERT_GE(job.generation(), generations_[id]) << "a generation came back";
      generations_[id] = job.generation();
      if (is_final(ended_[id])) {
        ASSERT_EQ(job.state(), ended_[id]) << id << " left a final state";
      }
      ended_[id] = job.state();
      ASSERT_EQ(job.ranks_size(), static_cast<int>(record.tasks.size()));
      if (job.state() == v1::RUNNING || job.state() == v1::SUCCEEDED) {
        ASSERT_EQ(job.ranks_size(), record.world_size()) << "a part of a gang runs";
      }
      if (job.state() == v1::SUCCEEDED) {
        for (const v1::Rank& rank : job.ranks()) {
          ASSERT_EQ(rank.finished().digest(), job.ranks(0).finished().digest());
        }
      }
      ASSERT_FALSE(job.reason().empty()) << id;
    }
  }

  core::Random random_;
  int tokens_ = 0;
  Coordinator coordinator_;
  std::vector<Worker> workers_;
  std::map<std::string, uint64_t> generations_;
  std::map<std::string, v1::JobState> ended_;
  uint64_t sessions_ = 0;
  int jobs_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

// A thousand histories in ten cases, so that each stays short under a sanitizer.
class CoordinatorRandomTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(CoordinatorRandomTest, InvariantsHoldInAHundredRandomHistories) {
  constexpr uint64_t kHistories = 100;
  constexpr int kSteps = 100;
  for (uint64_t seed = GetParam() * kHistories; seed < (GetParam() + 1) * kHistories; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    World world(seed);
    for (int i = 0; i < kSteps; ++i) {
      world.step();
      ASSERT_FALSE(::testing::Test::HasFatalFailure());
    }
    if (seed % 10 == 0) {  // The long tail of time costs more than the history.
      world.settle();
      ASSERT_FALSE(::testing::Test::HasFatalFailure());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CoordinatorRandomTest, ::testing::Range<uint64_t>(0, 10));

}  // namespace
}  // namespace laconic::server
