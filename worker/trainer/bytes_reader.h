// Text as bytes: one file, or all files of a directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::trainer {

inline constexpr int64_t kTextBytesMax = int64_t{8} << 30;
inline constexpr int64_t kTextFilesMax = 1'000'000;

// The bytes of a file, or of all regular files below a directory in the order of their paths, as
// they are. A file reachable by several names (symbolic links) is read once; directories behind
// symbolic links are not entered; empty files are passed over.
// Errors: InvalidArgument, reason BAD_DATA: path missing or unreadable, no byte at all, more than
// kTextBytesMax bytes or kTextFilesMax files.
absl::StatusOr<std::vector<uint8_t>> read_text(const std::string& path);

}  // namespace laconic::trainer
