// Real laconic-trainer processes on a real TrainerService, for tests of whole runs.
#pragma once

#include <fcntl.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/core/exit_codes.h"
#include "laconic/v1/job.pb.h"
#include "laconic/v1/trainer.grpc.pb.h"
#include "tests/testing/paths.h"
#include "tests/trainer/data_files.h"

namespace laconic::trainer {

inline constexpr absl::Duration kPatience = absl::Seconds(60);

// What one trainer reported; the key is its task token.
struct Reports {
  std::vector<v1::Progress> progress;
  std::vector<v1::HistoryPoint> history;
  std::vector<v1::TrainerEvent> events;
  std::optional<v1::Hello> hello;
  std::optional<v1::Finished> finished;
  std::optional<v1::Failure> failure;
};

// The worker's side: launches when `world_size` trainers said hello.
class TestWorker final : public v1::TrainerService::Service {
 public:
  TestWorker(const std::string& socket, int world_size) : world_size_(world_size) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~TestWorker() override { shut_down(); }

  void shut_down() { server_->Shutdown(absl::ToChronoTime(absl::Now())); }
  void never_launch() {
    const absl::MutexLock lock(&mutex_);
    held_back_ = true;
  }

  // Every rank reaches the others at what `route` makes of their addresses. Before trainers start.
  void route_peers(std::function<std::string(const std::string&)> route) {
    const absl::MutexLock lock(&mutex_);
    route_ = std::move(route);
  }

  Reports reports(const std::string& token) {
    const absl::MutexLock lock(&mutex_);
    return reports_[token];
  }

  // Waits until trainer `token` has said hello, or has made progress.
  bool wait_for(const std::string& token, bool progress) {
    const absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      const Reports& reports = reports_[token];
      return progress ? !reports.progress.empty() : reports.hello.has_value();
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  // Waits until trainer `token` has reported that it is past `step`.
  bool wait_for_step(const std::string& token, int64_t step) {
    const absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      const Reports& reports = reports_[token];
      return !reports.history.empty() && reports.history.back().step() > step;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  void stop(const std::string& token) {
    const absl::MutexLock lock(&mutex_);
    v1::AttachResponse response;
    response.mutable_stop()->set_reason("the test says so");
    streams_[token]->Write(response);
  }

  grpc::Status Attach(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::AttachResponse, v1::AttachRequest>* stream) override {
    const auto found = context->client_metadata().find("laconic-task-token");
    if (found == context->client_metadata().end()) {
      return {grpc::StatusCode::UNAUTHENTICATED, "no task token"};
    }
    const std::string token(found->second.data(), found->second.size());
    v1::AttachRequest request;
    while (stream->Read(&request)) {
      const absl::MutexLock lock(&mutex_);
      streams_[token] = stream;
      take(token, request.report());
    }
    const absl::MutexLock lock(&mutex_);
    streams_.erase(token);
    return grpc::Status::OK;
  }

 private:
  void take(const std::string& token, const v1::TrainerReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Reports& reports = reports_[token];
    if (report.has_progress()) {
      reports.progress.push_back(report.progress());
    } else if (report.has_history()) {
      reports.history.push_back(report.history());
    } else if (report.has_event()) {
      reports.events.push_back(report.event());
    } else if (report.has_finished()) {
      reports.finished = report.finished();
    } else if (report.has_failure()) {
      reports.failure = report.failure();
    } else if (report.has_hello()) {
      reports.hello = report.hello();
      addresses_[token] = route_(report.hello().peer_address());
      launch();
    }
  }

  // Tokens end in the rank.
  void launch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (held_back_ || static_cast<int>(addresses_.size()) < world_size_) {
      return;
    }
    v1::AttachResponse response;
    response.mutable_launch()->set_generation(1);
    int rank = 0;
    for (const auto& [token, address] : addresses_) {
      v1::Peer& peer = *response.mutable_launch()->add_peers();
      peer.set_rank(rank++);
      peer.set_address(address);
    }
    for (const auto& [token, stream] : streams_) {
      stream->Write(response);
    }
  }

  const int world_size_;
  absl::Mutex mutex_;
  bool held_back_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<std::string(const std::string&)> route_ ABSL_GUARDED_BY(mutex_) =
      [](const std::string& address) { return address; };
  std::map<std::string, Reports> reports_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> addresses_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, grpc::ServerReaderWriter<v1::AttachResponse, v1::AttachRequest>*> streams_
      ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

inline std::string token_of(int rank) {
  return absl::StrCat("token", rank);
}

class RankProcessesTest : public ::testing::Test {
 protected:
  RankProcessesTest() {
    const QuadrantImages train = quadrant_images(400, 1);
    const QuadrantImages eval = quadrant_images(100, 2);
    v1::TrainJobSpec& spec = *job_.mutable_spec();
    job_.set_api_version("laconic.v1");
    job_.set_kind("TrainJob");
    job_.mutable_metadata()->set_name("quadrants");
    spec.mutable_model()->mutable_softmax();
    v1::Idx& idx = *spec.mutable_data()->mutable_idx();
    idx.set_train_images(directory_.write("train-images", train.images));
    idx.set_train_labels(directory_.write("train-labels", train.labels));
    idx.set_eval_images(directory_.write("eval-images", eval.images));
    idx.set_eval_labels(directory_.write("eval-labels", eval.labels));
    spec.mutable_data()->mutable_shared()->mutable_iid();
    spec.mutable_train()->set_steps(60);
    spec.mutable_train()->set_batch_size(16);
    spec.mutable_train()->mutable_optimizer()->mutable_adamw()->set_learning_rate(0.05);
    v1::Exchange& exchange = *spec.mutable_exchange();
    exchange.mutable_local()->set_inner_steps(5);
    exchange.mutable_compressor()->mutable_quantize()->set_bits(1);
    exchange.mutable_compressor()->mutable_quantize()->mutable_rows();
    exchange.mutable_round_deadline()->set_seconds(30);
  }

  void TearDown() override {
    for (const auto& [rank, pid] : running_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    if (HasFailure()) {
      print_logs();
    }
  }

  // What the trainers said is all there is to explain a failure that does not come again.
  void print_logs() const {
    for (int rank = 0; rank < world_size_; ++rank) {
      std::ifstream log(directory_.file(absl::StrCat("rank", rank, "/stderr")));
      std::cerr << "--- standard error of rank " << rank << ", of all its runs\n";
      if (log.peek() != std::ifstream::traits_type::eof()) {
        std::cerr << log.rdbuf();
      }
    }
  }

  void start_worker(int world_size) {
    job_.mutable_spec()->mutable_workers()->set_count(world_size);
    world_size_ = world_size;
    worker_ = std::make_unique<TestWorker>(directory_.file("socket"), world_size);
  }

  void start_trainer(int rank) {
    const std::string own = directory_.file(absl::StrCat("rank", rank));
    std::filesystem::create_directories(own);
    std::vector<std::string> words = {
        testing::bin_dir() + "/laconic-trainer",
        "--job",
        directory_.write(absl::StrCat("job", rank), job_.SerializeAsString()),
        "--job-id",
        "job1234567",
        "--rank",
        absl::StrCat(rank),
        "--world-size",
        absl::StrCat(world_size_),
        "--worker",
        "unix:" + directory_.file("socket"),
        "--peer-host",
        "127.0.0.1",
        "--directory",
        own};
    std::vector<std::string> variables = {"LACONIC_TASK_TOKEN=" + token_of(rank),
                                          "LACONIC_PEER_TOKEN=secret", "OMP_NUM_THREADS=1"};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, (own + "/stderr").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    std::vector<char*> arguments;
    std::vector<char*> environment;
    for (std::string& word : words) {
      arguments.push_back(word.data());
    }
    for (std::string& variable : variables) {
      environment.push_back(variable.data());
    }
    arguments.push_back(nullptr);
    environment.push_back(nullptr);
    pid_t pid = 0;
    ASSERT_EQ(
        posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environment.data()),
        0);
    posix_spawn_file_actions_destroy(&actions);
    running_[rank] = pid;
  }

  // Exit code, or minus the signal.
  int wait_for_exit(int rank) {
    int status = 0;
    waitpid(running_.at(rank), &status, 0);
    running_.erase(rank);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  // Runs one trainer alone and returns why it failed.
  v1::Failure failure_of_one_rank() {
    start_worker(1);
    start_trainer(0);
    EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
    return worker_->reports(token_of(0)).failure.value_or(v1::Failure());
  }

  TemporaryDirectory directory_;
  v1::TrainJob job_;
  int world_size_ = 1;
  std::unique_ptr<TestWorker> worker_;
  std::map<int, pid_t> running_;
};

}  // namespace laconic::trainer
