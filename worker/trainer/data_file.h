// Whole files into memory, plain or gzip.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::trainer {

// Largest file, and largest unpacked file, that a rank holds in memory.
inline constexpr int64_t kDataFileBytesMax = int64_t{8} << 30;

// Errors: InvalidArgument, reason BAD_DATA, naming the path: missing, not a file, not readable,
// empty, or above kDataFileBytesMax.
absl::StatusOr<std::vector<uint8_t>> read_data_file(const std::string& path);

// As read_data_file; what begins with the gzip magic is unpacked. Errors: also for gzip data that
// are damaged or end early, with the offset in the packed file.
absl::StatusOr<std::vector<uint8_t>> read_unpacked(const std::string& path);

}  // namespace laconic::trainer
