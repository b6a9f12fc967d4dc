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
// Errors: Internal, reason RESULT_NOT_WRITTEN, with path and system error.
absl::Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata);

}  // namespace laconic::trainer
