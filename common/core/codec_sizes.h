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

// --- Chunked top-k: a bit stream of positions, chunk after chunk, then the values in groups of
// kTopKGroup. ---

// Kept of a chunk of n elements: per_chunk, of a short last chunk its share
// floor((per_chunk n + chunk / 2) / chunk), at least 1.
int64_t kept_of_chunk(const CodecSpec& spec, int64_t chunk_elements);
// Kept in the whole vector.
int64_t kept_in_chunks(const CodecSpec& spec, int64_t elements);

// How c of n elements are written: Elias-Fano with l = floor(log2(n / c)), c l low bits and then
// c + ceil(n / 2^l) upper bits. c: 1..n.
struct FixedChunkCode {
  int low_bits = 0;        // l
  int64_t upper_bits = 0;  // of the unary part
};
FixedChunkCode fixed_chunk_code(int64_t chunk_elements, int64_t kept);
// Bytes of the positions of all chunks.
int64_t chunk_position_bytes(const CodecSpec& spec, int64_t elements);

// payload_bytes_max() for kinds above kTopK.
int64_t other_payload_bytes_max(const CodecSpec& spec, const Layout& layout);

}  // namespace laconic::core
