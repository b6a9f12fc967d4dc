// The 64-byte header in front of every payload (docs/wire-format.md, "Frame").
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::collective {

inline constexpr int64_t kFrameHeaderBytes = 64;
inline constexpr int64_t kFramePayloadBytesMax = 1 << 20;  // 1 MiB; longer payloads are cut
inline constexpr int64_t kPayloadBytesTotalMax = int64_t{1} << 40;

enum class FrameKind : uint8_t {
  kPayload = 1,  // a tile of an all-gather payload
  kPart = 2,     // a part of a vector on its way to the rank that sums it
  kReduced = 3,  // a summed part on its way to all
  kAlive = 4,    // empty: the sender is busy before its next operation and will come
};

struct FrameHeader {
  FrameKind kind = FrameKind::kPayload;
  // The transport's own: the low bits of the frame's number on its way, where frames travel on
  // several lanes; 0 above the transport.
  uint16_t lane_sequence = 0;
  uint64_t generation = 0;
  uint64_t op_sequence = 0;
  uint64_t round = 0;
  uint64_t previous_digest = 0;
  uint16_t from_rank = 0;
  uint16_t to_rank = 0;
  uint32_t tile = 0;                 // index of this tile, from 0
  uint64_t payload_bytes_total = 0;  // of the whole payload, all tiles together
  uint32_t payload_bytes = 0;        // of this tile, at most kFramePayloadBytesMax
  uint32_t payload_crc32c = 0;

  bool operator==(const FrameHeader&) const = default;
};

// Tiles of a payload: 1 for an empty one, so that every operation sends at least one frame.
int64_t tile_count(int64_t payload_bytes_total);
// Bytes of one tile; 0 <= tile < tile_count(payload_bytes_total).
int64_t tile_bytes(int64_t payload_bytes_total, int64_t tile);

std::array<uint8_t, kFrameHeaderBytes> encode_frame_header(const FrameHeader& header);

// Errors: DataLoss with the reason for a wrong size, magic, version or kind, equal ranks, a total
// above kPayloadBytesTotalMax, or a tile and length that no cut of that total makes.
absl::StatusOr<FrameHeader> decode_frame_header(std::span<const uint8_t> bytes);

// Errors: DataLoss if the payload's length or checksum is not what the header says.
absl::Status check_payload(const FrameHeader& header, std::span<const uint8_t> payload);

}  // namespace laconic::collective
