// All ranks send the same elements, so positions travel once and values add up: settings and sizes.
// Pure: every rank and `laconic validate` come to the same answer.
//
//   P  world_size    d  elements    k  elements sent    B  elements of a block
#pragma once

#include <cstdint>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"
#include "common/core/schedule.h"

namespace laconic::core {

// How the ranks come to one support.
enum class Agreement : uint8_t {
  kLeader = 0,  // rank (round mod P) takes its k largest and tells the others
  kSketch = 1,  // the blocks of B elements with most energy, summed over the ranks
};

struct SharedIndexSpec {
  double density = 0;   // k / d, in (0, 0.5]; with kSketch of blocks
  int value_bits = 32;  // 32: sums are exact in double; 8, 4: quantized in blocks, lossy twice
  Agreement agreement = Agreement::kLeader;
  int64_t block = 64;  // B: a power of two in 16..65536; the last block may be shorter
  // With kLeader: every rank sends its own k largest until they overlap by overlap_wanted().
  bool by_overlap = false;

  bool operator==(const SharedIndexSpec&) const = default;
};

// ceil(d / B).
int64_t sketch_blocks(const SharedIndexSpec& spec, int64_t elements);
// Blocks sent: max(1, round(density ceil(d / B))).
int64_t sketch_blocks_sent(const SharedIndexSpec& spec, int64_t elements);

// Values that travel, k. kLeader: kept_elements(density, d). kSketch: B for each block sent, also
// for a short one, where zeros fill it up; but d if there is one block only.
int64_t shared_values(const SharedIndexSpec& spec, int64_t elements);

// What the values and the energies of the blocks travel in.
CodecSpec shared_value_codec(const SharedIndexSpec& spec);
CodecSpec sketch_codec();

// One tensor of `elements`.
Layout flat_layout(int64_t elements);

// Top-k of a rank's own elements, in as many bits: what by_overlap begins with, by all-gather.
CodecSpec own_index_codec(const SharedIndexSpec& spec);
// The overlap o of supports, 0..1, from which a shared support carries no less energy per byte:
// where all energy is in the ranks' own supports it carries (1 + (P - 1) o) / P of theirs, in bytes
// s / g for s and g those of a shared and of an own exchange. Above 1: never.
double overlap_wanted(const SharedIndexSpec& spec, const Layout& layout, int world_size);

// Largest position frame of a leader.
int64_t leader_bytes_max(const SharedIndexSpec& spec, int64_t elements);

// Bytes with frame headers that the rank which sends most sends in one exchange: the leader.
// schedule: of the values, kSharded or kRing. At most 2 (P-1)/P (I + V) beside headers, for I bytes
// of positions or energies and V of values: constant in P.
int64_t shared_index_sent_bytes(const SharedIndexSpec& spec, Schedule schedule,
                                const Layout& layout, int world_size);

// What one rank encodes: positions or energies, and values.
int64_t shared_index_payload_bytes(const SharedIndexSpec& spec, const Layout& layout);

}  // namespace laconic::core
