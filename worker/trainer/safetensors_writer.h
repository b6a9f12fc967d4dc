// The result as a file that Python's `safetensors` reads.
// Source: github.com/huggingface/safetensors, README, "Format".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace laconic::trainer {

struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;
};

// Writes all tensors as F32, in the order given. metadata: free text about the model.
// Errors: as write_whole().
absl::Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata);

// Writes `bytes` to `path` as they are. Errors: as write_whole().
absl::Status write_bytes(const std::string& path, std::string_view bytes);

// Lets `write` make a file under another name in the same directory, flushes it to disk and renames
// it to `path`: whoever reads `path` finds a whole file or none.
// Errors: those of `write`; Internal, reason RESULT_NOT_WRITTEN, with path and system error.
absl::Status write_whole(const std::string& path,
                         const std::function<absl::Status(const std::string& temporary)>& write);

}  // namespace laconic::trainer
