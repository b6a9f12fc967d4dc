// The size equations of the codecs beside none, quantize and top-k; called by payload_size.h's
// payload_bytes_max(), which is what to use elsewhere.
//
//   d  elements of the vector    k  elements kept    P  world size
#pragma once

#include <cstdint>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::core {

// In front of the values of rand-k and perm-k: the seed, u64.
inline constexpr int64_t kSeedBytes = 8;
// Then, in front of those of perm-k: which part of the partition they are, u32.
inline constexpr int64_t kPartBytes = 4;

// First element of part `part` of d elements in `parts` parts: floor(part d / parts).
int64_t part_begin(int64_t elements, int64_t part, int64_t parts);

// payload_bytes_max() for kinds above kTopK.
int64_t other_payload_bytes_max(const CodecSpec& spec, const Layout& layout);

}  // namespace laconic::core
