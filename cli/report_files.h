// Writes files whole or not at all.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// Makes `directory` with its parents and proves that files can be written there.
// Errors: InvalidArgument when it cannot be made or written; ResourceExhausted when the disk is
// full.
absl::Status make_writable_directory(const std::string& directory);

// Replaces `path` in one step: a reader sees the old or the new content, also after a crash.
// Errors: as above; the old file is then untouched.
absl::Status write_file(const std::string& path, const std::string& content);

// Writes DIRECTORY/<stem>.json and DIRECTORY/<stem>.html.
absl::Status write_report(const v1::Job& job, const std::string& directory,
                          const std::string& stem);

}  // namespace laconic::cli
