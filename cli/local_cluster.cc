#include "cli/local_cluster.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/report_files.h"
#include "common/core/status_macros.h"

namespace laconic::cli {
namespace {

constexpr absl::Duration kReadyDeadline = absl::Seconds(30);
constexpr absl::Duration kReadyPoll = absl::Milliseconds(20);
constexpr absl::Duration kStopGrace = absl::Seconds(10);
constexpr int kLogLinesShown = 20;

absl::StatusOr<std::string> program(const std::string& bin_directory, const std::string& name) {
  std::string path = absl::StrCat(bin_directory, "/", name);
  if (access(path.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("laconic run needs ", path,
                     ", which is missing or cannot be run; install it beside laconic"));
  }
  return path;
}

absl::Status died(const std::string& name, const std::string& end, const std::string& log) {
  return absl::InternalError(absl::StrCat(name, " ended (", end, "); the end of ", log, ":\n",
                                          last_lines(log, kLogLinesShown)));
}

}  // namespace

std::string last_lines(const std::string& path, int count) {
  std::ifstream file(path);
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back("  | " + line + "\n");
    if (lines.size() > static_cast<size_t>(count)) {
      lines.pop_front();
    }
  }
  std::string text;
  for (const std::string& line : lines) {
    text += line;
  }
  return text;
}

absl::StatusOr<std::string> address_in_ready_file(const std::string& content) {
  try {
    // JSON is YAML.
    const YAML::Node address = YAML::Load(content)["address"];
    if (address && address.IsScalar() && !address.Scalar().empty()) {
      return address.Scalar();
    }
  } catch (const YAML::Exception&) {
    // Falls through to the one error below.
  }
  return absl::DataLossError(absl::StrCat("the server's ready file has no address: ", content));
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::start(const ClusterOptions& options,
                                                                  Interrupt& interrupt) {
  std::unique_ptr<LocalCluster> cluster(new LocalCluster(options));
  LACONIC_RETURN_IF_ERROR(cluster->lock());
  LACONIC_RETURN_IF_ERROR(cluster->start_server(interrupt));
  LACONIC_RETURN_IF_ERROR(cluster->start_worker(interrupt));
  return cluster;
}

LocalCluster::~LocalCluster() {
  stop();
  if (lock_fd_ >= 0) {
    close(lock_fd_);
  }
}

absl::Status LocalCluster::lock() {
  const std::string path = absl::StrCat(options_.directory, "/.lock");
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_fd_ < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
  }
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another laconic run uses ", options_.directory,
                     "; wait for its end or choose another directory with --out"));
  }
  return absl::OkStatus();
}

absl::Status LocalCluster::start_server(Interrupt& interrupt) {
  LACONIC_ASSIGN_OR_RETURN(const std::string path,
                           program(options_.bin_directory, "laconic-server"));
  const std::string data = options_.directory + "/server";
  LACONIC_RETURN_IF_ERROR(make_writable_directory(data));
  // A job that an earlier run left behind when it was killed must not start now.
  for (const char* name : {"laconic.db", "laconic.db-wal", "laconic.db-shm", "ready.json"}) {
    std::error_code ignored;
    std::filesystem::remove(absl::StrCat(data, "/", name), ignored);
  }
  const std::string ready = data + "/ready.json";
  LACONIC_ASSIGN_OR_RETURN(
      ChildProcess child,
      ChildProcess::start({path, "--listen", "127.0.0.1:0", "--metrics-listen", "", "--data-dir",
                           data, "--ready-file", ready, "--die-with-parent"},
                          options_.directory + "/server.log"));
  server_.emplace(std::move(child));
  LACONIC_RETURN_IF_ERROR(wait_for(ready, interrupt));
  std::ifstream file(ready);
  std::stringstream content;
  content << file.rdbuf();
  LACONIC_ASSIGN_OR_RETURN(address_, address_in_ready_file(content.str()));
  return absl::OkStatus();
}

absl::Status LocalCluster::start_worker(Interrupt& interrupt) {
  LACONIC_ASSIGN_OR_RETURN(const std::string path,
                           program(options_.bin_directory, "laconic-worker"));
  LACONIC_RETURN_IF_ERROR(program(options_.bin_directory, "laconic-trainer").status());
  const std::string data = options_.directory + "/worker";
  LACONIC_RETURN_IF_ERROR(make_writable_directory(data));
  const std::string ready = data + "/ready.json";
  std::error_code ignored;
  std::filesystem::remove(ready, ignored);
  LACONIC_ASSIGN_OR_RETURN(
      ChildProcess child,
      ChildProcess::start({path, "--server", address_, "--name", "local", "--slots",
                           absl::StrCat(options_.slots), "--work-dir", data, "--peer-host",
                           "127.0.0.1", "--ready-file", ready, "--die-with-parent"},
                          options_.directory + "/worker.log"));
  worker_.emplace(std::move(child));
  return wait_for(ready, interrupt);
}

absl::Status LocalCluster::wait_for(const std::string& ready_file, Interrupt& interrupt) {
  const absl::Time give_up = absl::Now() + kReadyDeadline;
  while (!std::filesystem::exists(ready_file)) {
    LACONIC_RETURN_IF_ERROR(check());
    if (interrupt.count() > 0) {
      return absl::CancelledError("interrupted");
    }
    if (absl::Now() > give_up) {
      return absl::InternalError(absl::StrCat(ready_file, " was not written within 30 s; see ",
                                              options_.directory, "/*.log"));
    }
    absl::SleepFor(kReadyPoll);
  }
  return absl::OkStatus();
}

absl::Status LocalCluster::check() {
  if (server_) {
    if (const auto end = server_->end()) {
      return died("laconic-server", *end, options_.directory + "/server.log");
    }
  }
  if (worker_) {
    if (const auto end = worker_->end()) {
      return died("laconic-worker", *end, options_.directory + "/worker.log");
    }
  }
  return absl::OkStatus();
}

void LocalCluster::stop() {
  // In this order, so that the worker can still tell the server how its tasks ended.
  if (worker_) {
    worker_->stop(kStopGrace);
  }
  if (server_) {
    server_->stop(kStopGrace);
  }
  for (const char* name : {"/server/ready.json", "/worker/ready.json"}) {
    std::error_code ignored;
    std::filesystem::remove(options_.directory + name, ignored);
  }
}

}  // namespace laconic::cli
