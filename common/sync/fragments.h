// Parts of a model that are exchanged one at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/core/layout.h"

namespace laconic::sync {

struct Fragment {
  core::Layout layout;  // whole tensors, neighbours in the model
  int64_t begin = 0;    // first element in the flat vector
};

// Cuts a model into `count` fragments, each of at least one tensor, of as equal sizes as whole
// tensors allow when taken in order. Errors: InvalidArgument unless 1 <= count <= tensors.
absl::StatusOr<std::vector<Fragment>> cut_into_fragments(const core::Layout& layout, int count);

}  // namespace laconic::sync
