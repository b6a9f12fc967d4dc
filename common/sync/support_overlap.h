// How many of the elements that the ranks send are the same ones.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/transport.h"

namespace laconic::sync {

// The part of the support of payload `leader` that the others have too: the mean over i of
// |S_i and S_leader| / |S_leader|. 1 for one rank alone.
//
//   payloads  [P] of the top-k codec (core/codec_spec.h), without entropy, of [elements]
//
// Cost: O(P k). Errors: DataLoss for a payload that does not begin with positions.
absl::StatusOr<double> support_overlap(const std::vector<collective::Payload>& payloads,
                                       int64_t elements, size_t leader);

}  // namespace laconic::sync
