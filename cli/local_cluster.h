// One server and one worker on this machine, for the time of one run.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/console.h"
#include "cli/process.h"

namespace laconic::cli {

struct ClusterOptions {
  std::string bin_directory;  // where laconic-server and laconic-worker lie
  std::string directory;      // absolute; server/, worker/, server.log and worker.log go here
  int slots = 1;              // ranks that run at once
};

// Holds DIRECTORY/.lock for as long as it lives: two runs cannot share a directory. The destructor
// stops both programs; when this process is killed, the kernel and --die-with-parent do.
// Not thread-safe; start it on the main thread.
class LocalCluster {
 public:
  // Returns when both are ready.
  // Errors: FailedPrecondition when a program is missing or the directory is in use; Internal with
  // the end of its log when one does not come up; Cancelled after Ctrl-C.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> start(const ClusterOptions& options,
                                                             Interrupt& interrupt);
  ~LocalCluster();
  LocalCluster(const LocalCluster&) = delete;
  LocalCluster& operator=(const LocalCluster&) = delete;

  const std::string& address() const { return address_; }
  // OK while both programs run; Internal with the end of the log of one that does not.
  absl::Status check();
  // Ends the worker, which ends its trainers, and then the server.
  void stop();

 private:
  explicit LocalCluster(ClusterOptions options) : options_(std::move(options)) {}
  absl::Status lock();
  absl::Status start_server(Interrupt& interrupt);
  absl::Status start_worker(Interrupt& interrupt);
  absl::Status wait_for(const std::string& ready_file, Interrupt& interrupt);

  ClusterOptions options_;
  int lock_fd_ = -1;
  std::string address_;
  std::optional<ChildProcess> server_;
  std::optional<ChildProcess> worker_;
};

// The last `count` lines of a text file; empty when it cannot be read.
std::string last_lines(const std::string& path, int count);

// The value of "address" in a ready file. Errors: DataLoss when there is none.
absl::StatusOr<std::string> address_in_ready_file(const std::string& content);

}  // namespace laconic::cli
