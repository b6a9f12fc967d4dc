// Positions of the kept elements as a bit stream: chunks of 65,536 elements, each a count and then
// a bitmap or Elias-Fano bits, whichever is smaller (core::chunk_code); the last byte is filled up
// with zeros. docs/wire-format.md has an example. The counts lead from chunk to chunk, so a section
// says itself how many positions it holds and where it ends.
//
//   d  elements    k  kept    n  elements of a chunk    c  kept in it    l  low bits
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::compress {

// Writes the code of `positions` to the start of `out`.
//
//   positions  [k] strictly ascending, below `elements`; none is allowed
//   out        at least position_bits_max(elements, k) bits; nothing behind it is touched
//   returns    bytes of the section; what follows in `out` is unspecified
size_t encode_positions(std::span<const uint32_t> positions, int64_t elements,
                        std::span<uint8_t> out);

// A position section at the start of a payload.
struct PositionSection {
  int64_t kept = 0;
  size_t bytes = 0;
};

// Walks from count to count; reads nothing else, writes nothing.
// Errors: DataLoss if a count is above its chunk, they add up to more than kept_max, or the bytes
// end before the section does.
absl::StatusOr<PositionSection> measure_positions(std::span<const uint8_t> payload,
                                                  int64_t elements, int64_t kept_max);

// Decodes a section that measure_positions() found, exactly its bytes, for positions.size() kept.
//
//   positions  [k] overwritten, strictly ascending, below `elements`; unspecified after an error
//
// Errors: DataLoss for a position outside its chunk, a wrong number of one bits, or bits set behind
// the last chunk.
absl::Status decode_positions(std::span<const uint8_t> section, int64_t elements,
                              std::span<uint32_t> positions);

}  // namespace laconic::compress
