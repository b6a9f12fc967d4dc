// Files and directories that only this user can read.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace laconic::agent {

// Errors of all: NotFound, PermissionDenied, ResourceExhausted (disk full) or Internal, with the
// path and the cause.

// Makes the directory and what is missing above it, mode 0700. Fine if it exists.
absl::Status make_private_directory(const std::string& path);
// A file of mode 0600 that holds `content` and nothing of what was there.
absl::Status write_private_file(const std::string& path, const std::string& content);
// As above, but a reader sees the old file or the whole new one.
absl::Status replace_file(const std::string& path, const std::string& content);

}  // namespace laconic::agent
