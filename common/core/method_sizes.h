// What the methods power_sgd and demo send, for themselves and for `laconic validate`.
//
//   n x m  a tensor    r  rank    C  side of a block    k  kept of a whole block
#pragma once

#include <cstdint>
#include <vector>

#include "common/core/exchange_spec.h"
#include "common/core/layout.h"

namespace laconic::core {

// True if PowerSGD sends the tensor as two factors: both sides above 1, and r (n + m) < n m.
bool is_power_factored(const PowerSgdSpec& spec, const TensorShape& tensor);

// Floats that PowerSGD averages in a round after the first dense_steps: r (n + m) of every factored
// tensor, all of every other one.
int64_t power_sgd_floats(const PowerSgdSpec& spec, const Layout& layout);

// A block of a tensor: at most C x C, in vectors 1 x C; the last ones of a row or column are
// smaller.
struct DemoBlock {
  int64_t begin = 0;    // of its first element in the flat vector
  int32_t rows = 0;     // 1..C
  int32_t columns = 0;  // 1..C
  int64_t stride = 0;   // elements from one row to the next
  int32_t kept = 0;     // max(1, round(k area / C^2)), at most its area
};
// All blocks, tensor after tensor, row after row.
std::vector<DemoBlock> demo_blocks(const DemoSpec& spec, const Layout& layout);

// Largest payload of a rank: positions of all kept components and a bit for each.
int64_t demo_payload_bytes_max(const DemoSpec& spec, const Layout& layout);

}  // namespace laconic::core
