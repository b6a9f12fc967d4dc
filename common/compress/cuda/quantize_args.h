// What the quantize kernels are given. Plain data: copied to the device as kernel arguments.
#pragma once

#include <cstdint>

#include "common/core/payload_size.h"

namespace laconic::compress::cuda {

// Consecutive groups of equal length (compress::GroupRun), and where they begin.
struct GroupStretch {
  int64_t first_group = 0;
  int64_t first_value = 0;
  int64_t groups = 0;
  int64_t length = 0;
};

// The shape of a payload of the codec `quantize`.
struct QuantizeShape {
  core::ValueCode code = core::ValueCode::kLinear8;
  uint32_t bits = 0;
  uint32_t scales_per_group = 0;
  int64_t values = 0;  // d
  int64_t groups = 0;
  int64_t code_bytes_at = 0;  // where the codes begin
  // Groups of 2^log2_block values, the last one short, for the one-pass kernels; 0: others.
  uint32_t log2_block = 0;
  const GroupStretch* stretches = nullptr;  // device memory, ascending
  int32_t stretch_count = 0;
  bool long_groups = false;  // a block works on each group instead of a warp
};

// Fault words are the smallest of what was found; all ones: nothing.
inline constexpr uint64_t kNoFault = ~uint64_t{0};

struct QuantizeEncodeArgs {
  QuantizeShape shape;
  const float* v = nullptr;  // [d]; nullptr: a is encoded as it is
  float* a = nullptr;        // [d]; nullptr: v is encoded. Both: a <- decay a + v, a is encoded
  float decay = 0;
  bool aligned = false;         // v and a are aligned to 16 bytes
  uint32_t* payload = nullptr;  // zero, unless log2_block is set
  uint64_t* fault = nullptr;    // index of the first element that is not finite
};

// Why a payload was refused; the low bits of a fault word of a decoder, above them the payload.
enum class PayloadFault : uint32_t {
  kScales = 0,      // out of range
  kCode = 1,        // the reserved one
  kUnusedBits = 2,  // set behind the last value
  kPositions = 3,   // of top-k: counts, order, or bits behind the last
  kValue = 4,       // a float32 that is not finite
};
inline constexpr uint64_t kPayloadFaults = 8;

// out <- ([out +] sign D(payload 0) + sign D(payload 1) + ...) / divisor, each sum rounded, in this
// order.
struct QuantizeDecodeArgs {
  QuantizeShape shape;
  const uint32_t* payloads = nullptr;
  int64_t stride_words = 0;  // from one payload to the next
  int32_t count = 0;         // >= 1
  float sign = 1;
  bool add = false;      // false: the sum starts with D(payload 0) itself, sign 1
  float divisor = 1;     // 1: no division
  bool aligned = false;  // out is aligned to 16 bytes
  float* out = nullptr;  // [d]
  uint64_t* fault = nullptr;
};

}  // namespace laconic::compress::cuda
