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

// --- Exponential levels: those of every tensor in bfloat16, then the codes. ---

int64_t exponential_level_bytes(const CodecSpec& spec, const Layout& layout);

// --- Low rank: for every matrix P [rows x r] and Q [columns x r], for other tensors their
// elements, all float32. ---

// True if the tensor is sent as P and Q: both sides above 1, and that is smaller.
bool is_factored(const CodecSpec& spec, const TensorShape& tensor);

// --- Entropy stage: a byte that tells whether codes are coded, then as docs/wire-format.md. ---

inline constexpr int64_t kEntropyModeBytes = 1;
// Frequencies of the 256 byte values, u16 each.
inline constexpr int64_t kEntropyTableBytes = 512;

// Where the codes of a payload are: the bytes that the entropy stage codes.
struct CodeRange {
  int64_t begin = 0;
  int64_t bytes = 0;          // 0: this codec has no entropy stage
  double expected_share = 1;  // of these bytes that is left for normal data, measured
};
CodeRange code_range(const CodecSpec& spec, const Layout& layout);

// payload_bytes_max() for kinds above kTopK, and for all with the entropy stage.
int64_t other_payload_bytes_max(const CodecSpec& spec, const Layout& layout);

}  // namespace laconic::core
