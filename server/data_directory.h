// The directory of one laconic-server: made private, and locked against a second server.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace laconic::server {

// Holds the lock for as long as it lives; the kernel drops it when the process dies in any way.
class DataDirectory {
 public:
  // Makes `path` and `path`/logs where they are missing, for this user only (a directory that is
  // there keeps its mode), and locks `path`/lock.
  // Errors: FailedPrecondition DATA_DIR_IN_USE, with the process that has the lock; Unavailable
  // STORE_FAILED when something cannot be made.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> open(const std::string& path);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

 private:
  explicit DataDirectory(int lock_fd) : lock_fd_(lock_fd) {}

  const int lock_fd_;
};

}  // namespace laconic::server
