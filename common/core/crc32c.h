// CRC-32C (Castagnoli), as in iSCSI (RFC 3720 B.4) and ext4.
#pragma once

#include <cstdint>
#include <span>

namespace laconic::core {

// Uses the SSE4.2 instruction where the machine has it, tables elsewhere; same result.
uint32_t crc32c(std::span<const uint8_t> bytes);

}  // namespace laconic::core
