#include "common/collective/star.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

absl::Status check_own(const char* operation, const Payload& payload, int64_t payload_bytes_max) {
  if (static_cast<int64_t>(payload.size) > payload_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(operation, ": payload of ", payload.size,
                                                   " bytes, the limit is ", payload_bytes_max));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Payload>> Star::gather(const Payload& payload, int64_t payload_bytes_max,
                                                  const OpTag& tag) {
  LACONIC_RETURN_IF_ERROR(check_own("gather", payload, payload_bytes_max));
  const FrameHeader header = communicator_.channel().start(FrameKind::kPart, tag);
  if (!is_anchor()) {
    LACONIC_RETURN_IF_ERROR(send(anchor_, header, payload));
    return std::vector<Payload>();
  }
  std::vector<Payload> all;
  for (int from = 0; from < world_size(); ++from) {
    if (from == anchor_) {
      all.push_back(payload);
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(Payload received, receive(from, header, payload_bytes_max));
    all.push_back(std::move(received));
  }
  return all;
}

absl::StatusOr<Payload> Star::broadcast(const Payload& payload, int64_t payload_bytes_max,
                                        const OpTag& tag) {
  const FrameHeader header = communicator_.channel().start(FrameKind::kReduced, tag);
  if (!is_anchor()) {
    return receive(anchor_, header, payload_bytes_max);
  }
  LACONIC_RETURN_IF_ERROR(check_own("broadcast", payload, payload_bytes_max));
  for (int to = 0; to < world_size(); ++to) {
    if (to == anchor_) {
      continue;
    }
    LACONIC_RETURN_IF_ERROR(send(to, header, payload));
  }
  return payload;
}

absl::Status Star::send(int to, const FrameHeader& header, const Payload& payload) {
  const auto total = static_cast<int64_t>(payload.size);
  for (int64_t tile = 0; tile < tile_count(total); ++tile) {
    FrameHeader tile_header = header;
    tile_header.tile = static_cast<uint32_t>(tile);
    tile_header.payload_bytes_total = payload.size;
    LACONIC_RETURN_IF_ERROR(communicator_.channel().send(
        to, tile_header,
        payload.slice(static_cast<size_t>(tile * kFramePayloadBytesMax),
                      static_cast<size_t>(tile_bytes(total, tile)))));
  }
  return absl::OkStatus();
}

absl::StatusOr<Payload> Star::receive(int from, const FrameHeader& header,
                                      int64_t payload_bytes_max) {
  FrameChannel& channel = communicator_.channel();
  const auto bytes = std::make_shared<core::ByteBuffer>();
  int64_t tiles = 1;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    LACONIC_ASSIGN_OR_RETURN(const Frame frame, channel.receive(from, header, header.op_sequence));
    const auto total = static_cast<int64_t>(frame.header.payload_bytes_total);
    if (frame.header.tile != tile || (tile > 0 && total != static_cast<int64_t>(bytes->size()))) {
      return channel.blame(from, absl::DataLossError(absl::StrCat(
                                     "rank ", from, " sent tile ", frame.header.tile, " of ", total,
                                     " bytes where tile ", tile, " was due")));
    }
    if (absl::Status status = check_total(from, total, {payload_bytes_max, false}); !status.ok()) {
      return channel.blame(from, std::move(status));
    }
    const std::span<const uint8_t> received = frame.payload.bytes();
    if (absl::Status status = check_payload(frame.header, received); !status.ok()) {
      return channel.blame(
          from, absl::DataLossError(absl::StrCat("from rank ", from, ": ", status.message())));
    }
    if (tiles = tile_count(total); tiles == 1) {
      return frame.payload;  // As it came: no copy.
    }
    bytes->resize(static_cast<size_t>(total));
    std::memcpy(bytes->data() + tile * kFramePayloadBytesMax, received.data(), received.size());
  }
  return Payload(bytes);
}

}  // namespace laconic::collective
