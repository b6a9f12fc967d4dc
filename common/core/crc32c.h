// CRC-32C (Castagnoli), as in iSCSI (RFC 3720 B.4) and ext4.
#pragma once

#include <cstdint>
#include <span>

namespace laconic::core {

// Uses the SSE4.2 and PCLMULQDQ instructions where the machine has them, tables elsewhere; same
// result.
uint32_t crc32c(std::span<const uint8_t> bytes);

// The same by tables alone, 8 bytes a step: what machines without the instructions use.
uint32_t crc32c_by_table(std::span<const uint8_t> bytes);

}  // namespace laconic::core
