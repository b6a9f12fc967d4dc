// Files that are there whole or not at all.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"

namespace laconic::trainer {

// Follows the final name in that of a file that is being written; a process that is killed there
// leaves it behind.
inline constexpr char kPartialSuffix[] = ".partial.";

// Writes the parts to `path`, one after another. Errors: Internal, with path and system error.
absl::Status write_parts(const std::string& path,
                         std::span<const std::span<const std::byte>> parts);

// Lets `write` make a file under another name in the same directory, flushes it to disk and renames
// it to `path`: whoever reads `path` finds a whole file or none.
// Errors: those of `write`; Internal, with path and system error.
absl::Status write_whole(const std::string& path,
                         const std::function<absl::Status(const std::string& temporary)>& write);

}  // namespace laconic::trainer
