// The size equation of every payload: one place for the encoder, for the decoder's check of hostile
// bytes, and for the prediction that `laconic validate` prints.
//
//   d  elements of the vector    k  elements kept    b  bits per value    l  low bits of a position
#pragma once

#include <cstdint>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::core {

// Largest d of a codec: positions fit 32 bits, and no size below overflows.
inline constexpr int64_t kCodecElementsMax = int64_t{1} << 32;

// Bytes of the payload that `spec` makes of a vector of this layout: exact, or the largest possible
// where payload_size_varies(): for top-k with kept_elements_max() kept, in the positions that take
// most bits. The layout of the bytes is docs/wire-format.md.
// The spec must be within the ranges of codec_spec.h, d in 1..kCodecElementsMax.
int64_t payload_bytes_max(const CodecSpec& spec, const Layout& layout);

// True if payloads of this layout can be smaller than payload_bytes_max().
bool payload_size_varies(const CodecSpec& spec, const Layout& layout);

// Likewise, but for top-k with exactly kept_elements() kept: what to plan with. Real payloads stay
// within 0.8 to 1.25 times that, except in the rounds in which gradients suddenly shrink.
int64_t payload_bytes_expected(const CodecSpec& spec, const Layout& layout);

// How many times fewer values than d, or bytes than 4 d, a payload has; at least 1.
double shrink_factor(const CodecSpec& spec, const Layout& layout);

// Scales in a quantized payload: one per row, or one per block of the flat vector; at 2 bits two.
// 0 for the other kinds.
int64_t scale_count(const CodecSpec& spec, const Layout& layout);

// k = max(1, round(density d)), at most d.
int64_t kept_elements(double density, int64_t elements);

// Largest number of elements a top-k payload may hold: floor(1.25 k), at most d, because a
// threshold of an earlier round may let through more than k; k for vectors below one chunk, which
// are always selected exactly.
int64_t kept_elements_max(double density, int64_t elements);

// --- Values of a payload: scales of 2 bytes, then b bits per value, the last byte filled up. ---

// How one value is written.
enum class ValueCode : uint8_t {
  kFloat32 = 0,    // as it is
  kLinear8 = 1,    // -127..127 times the scale of the group
  kLinear4 = 2,    // -7..7 times the scale of the group
  kLog4 = 3,       // sign and one of eight levels in geometric progression
  kTwoLevels = 4,  // sign and one of two levels
  kSign = 5,       // sign, times the scale of the group
};

// The value code of a spec; of no meaning for exponential levels.
ValueCode value_code(const CodecSpec& spec);
int value_bits(ValueCode code);        // b
int scales_per_group(ValueCode code);  // 0, 1 or 2

// Kept values that share scales in a top-k payload.
inline constexpr int64_t kTopKGroup = 256;

// Bytes of `values` values in `groups` groups.
int64_t value_bytes(ValueCode code, int64_t values, int64_t groups);

// Bytes of the values of a top-k payload that holds `kept` elements; 0 for none.
int64_t top_k_value_bytes(const CodecSpec& spec, int64_t kept);
// Of these, the scales or levels in front of the codes.
int64_t top_k_scale_bytes(const CodecSpec& spec, int64_t kept);

// --- Positions of a top-k payload: one bit stream, chunk after chunk. ---

// Elements per chunk; the last one may be shorter.
inline constexpr int64_t kTopKChunk = 65536;

// Bits of the count in front of a chunk of n elements: enough for 0..n.
int count_bits(int64_t chunk_elements);

// How c kept of n elements are written: a bitmap of n bits where that is smaller, else Elias-Fano
// with l = floor(log2(n/c)): c l low bits, then c + ceil(n / 2^l) upper bits. It follows from n and
// c alone, so a payload carries neither l nor the mode.
// Source: Elias, "Efficient Storage and Retrieval by Content and Address of Static Files",
// JACM 1974; Vigna, "Quasi-Succinct Indices", WSDM 2013.
struct ChunkCode {
  bool bitmap = false;
  int low_bits = 0;        // l; 0 for a bitmap
  int64_t upper_bits = 0;  // of the unary part, or of the bitmap
  int64_t bits = 0;        // all, without the count; 0 if nothing is kept
};
ChunkCode chunk_code(int64_t chunk_elements, int64_t kept);

// Largest number of bits that k positions below d can take; does not shrink when k grows.
// Cost: O(min(d, kTopKChunk)).
int64_t position_bits_max(int64_t elements, int64_t kept);

}  // namespace laconic::core
