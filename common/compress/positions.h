// Positions of the kept elements as a bit stream: chunks of 65,536 elements, each a count and then
// a bitmap or Elias-Fano bits, whichever is smaller (core::chunk_code); the last byte is filled up
// with zeros. docs/wire-format.md has an example.
//
//   d  elements    k  kept    n  elements of a chunk    c  kept in it    l  low bits
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace laconic::compress {

// Appends the code of `positions` to `out`.
//   positions  [k] strictly ascending, below `elements`
void encode_positions(std::span<const uint32_t> positions, int64_t elements,
                      std::vector<uint8_t>& out);

// Checks the size equation: counts are within their chunks, add up to `kept`, and the bits that
// follow from them fill `section` exactly. Reads the counts only; writes nothing.
// Errors: DataLoss with the reason.
absl::Status check_positions_size(std::span<const uint8_t> section, int64_t elements, int64_t kept);

// Decodes a section that passed check_positions_size() for positions.size() kept.
//   positions  [k] overwritten, strictly ascending, below `elements`; unspecified after an error
// Errors: DataLoss for a position outside its chunk, a wrong number of one bits, or bits set behind
// the last chunk.
absl::Status decode_positions(std::span<const uint8_t> section, int64_t elements,
                              std::span<uint32_t> positions);

}  // namespace laconic::compress
