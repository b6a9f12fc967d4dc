#include "common/collective/frame.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/crc32c.h"
#include "common/core/version.h"

namespace laconic::collective {
namespace {

constexpr uint32_t kMagic = 0x46'4E'43'4C;  // "LCNF" in memory order

// Writes integers one after another, little-endian.
class Writer {
 public:
  template <typename Integer>
  void put(Integer value) {
    for (size_t i = 0; i < sizeof(Integer); ++i) {
      bytes_[at_++] = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
    }
  }
  const std::array<uint8_t, kFrameHeaderBytes>& bytes() const { return bytes_; }

 private:
  std::array<uint8_t, kFrameHeaderBytes> bytes_{};
  size_t at_ = 0;
};

// Reads them back; the caller has checked the size.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename Integer>
  Integer take() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(Integer); ++i) {
      value |= static_cast<uint64_t>(bytes_[at_++]) << (8 * i);
    }
    return static_cast<Integer>(value);
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

absl::Status check_lengths(const FrameHeader& header) {
  if (header.payload_bytes_total > static_cast<uint64_t>(kPayloadBytesTotalMax)) {
    return absl::DataLossError(absl::StrCat("frame: total of ", header.payload_bytes_total,
                                            " bytes, limit is ", kPayloadBytesTotalMax));
  }
  const int64_t total = static_cast<int64_t>(header.payload_bytes_total);
  if (header.tile >= tile_count(total)) {
    return absl::DataLossError(absl::StrCat("frame: tile ", header.tile, " of a payload of ",
                                            tile_count(total), " tiles"));
  }
  if (header.payload_bytes != tile_bytes(total, header.tile)) {
    return absl::DataLossError(absl::StrCat("frame: ", header.payload_bytes, " bytes in tile ",
                                            header.tile, ", which has ",
                                            tile_bytes(total, header.tile)));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t tile_count(int64_t payload_bytes_total) {
  return std::max<int64_t>(
      1, (payload_bytes_total + kFramePayloadBytesMax - 1) / kFramePayloadBytesMax);
}

int64_t tile_bytes(int64_t payload_bytes_total, int64_t tile) {
  return std::min(kFramePayloadBytesMax, payload_bytes_total - tile * kFramePayloadBytesMax);
}

std::array<uint8_t, kFrameHeaderBytes> encode_frame_header(const FrameHeader& header) {
  Writer writer;
  writer.put(kMagic);
  writer.put(static_cast<uint8_t>(core::kWireFormatVersion));
  writer.put(static_cast<uint8_t>(header.kind));
  writer.put(header.lane_sequence);
  writer.put(header.generation);
  writer.put(header.op_sequence);
  writer.put(header.round);
  writer.put(header.previous_digest);
  writer.put(header.from_rank);
  writer.put(header.to_rank);
  writer.put(header.tile);
  writer.put(header.payload_bytes_total);
  writer.put(header.payload_bytes);
  writer.put(header.payload_crc32c);
  return writer.bytes();
}

absl::StatusOr<FrameHeader> decode_frame_header(std::span<const uint8_t> bytes) {
  if (bytes.size() != static_cast<size_t>(kFrameHeaderBytes)) {
    return absl::DataLossError(
        absl::StrCat("frame: header of ", bytes.size(), " bytes, it has ", kFrameHeaderBytes));
  }
  Reader reader(bytes);
  if (const uint32_t magic = reader.take<uint32_t>(); magic != kMagic) {
    return absl::DataLossError(absl::StrFormat("frame: magic is %08x, not %08x", magic, kMagic));
  }
  if (const int version = reader.take<uint8_t>(); version != core::kWireFormatVersion) {
    return absl::DataLossError(absl::StrCat("frame: version ", version, ", this program knows ",
                                            core::kWireFormatVersion));
  }
  FrameHeader header;
  const int kind = reader.take<uint8_t>();
  if (kind < static_cast<int>(FrameKind::kPayload) || kind > static_cast<int>(FrameKind::kAlive)) {
    return absl::DataLossError(absl::StrCat("frame: kind ", kind, ", known are 1 to 4"));
  }
  header.kind = static_cast<FrameKind>(kind);
  header.lane_sequence = reader.take<uint16_t>();
  header.generation = reader.take<uint64_t>();
  header.op_sequence = reader.take<uint64_t>();
  header.round = reader.take<uint64_t>();
  header.previous_digest = reader.take<uint64_t>();
  header.from_rank = reader.take<uint16_t>();
  header.to_rank = reader.take<uint16_t>();
  if (header.from_rank == header.to_rank) {
    return absl::DataLossError(absl::StrCat("frame: from rank ", header.from_rank, " to itself"));
  }
  header.tile = reader.take<uint32_t>();
  header.payload_bytes_total = reader.take<uint64_t>();
  header.payload_bytes = reader.take<uint32_t>();
  header.payload_crc32c = reader.take<uint32_t>();
  if (absl::Status status = check_lengths(header); !status.ok()) {
    return status;
  }
  return header;
}

absl::Status check_payload(const FrameHeader& header, std::span<const uint8_t> payload) {
  if (payload.size() != header.payload_bytes) {
    return absl::DataLossError(absl::StrCat(
        "frame: ", payload.size(), " bytes of payload, the header says ", header.payload_bytes));
  }
  if (const uint32_t crc = core::crc32c(payload); crc != header.payload_crc32c) {
    return absl::DataLossError(absl::StrFormat("frame: checksum of the payload is %08x, not %08x",
                                               crc, header.payload_crc32c));
  }
  return absl::OkStatus();
}

}  // namespace laconic::collective
