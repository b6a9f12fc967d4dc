// Lossless: bytes in as many bits as their frequencies need (order 0, static table).
// Source: Duda, "Asymmetric numeral systems", arXiv 1311.2540 (rANS), in the byte-wise form of
// Giesen, ryg_rans.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::compress {

// A table of the frequencies of all symbols, u16, that add up to 2^14 (the only symbol is sent as
// 2^14), then the rANS bytes. Empty if that would take `limit` bytes or more.
//
//   in       a symbol each; not empty
//   symbols  above every byte of `in`, 2..256
std::vector<uint8_t> range_encode(std::span<const uint8_t> in, size_t limit, size_t symbols = 256);

// Decodes out.size() symbols from the start of `in`, from a peer; returns how many bytes of `in`
// that took. out: not empty; unspecified after an error. Errors: DataLoss for a table that does not
// add up, too few bytes, or a final state that no encoder starts with.
absl::StatusOr<size_t> range_decode(std::span<const uint8_t> in, std::span<uint8_t> out,
                                    size_t symbols = 256);

}  // namespace laconic::compress
