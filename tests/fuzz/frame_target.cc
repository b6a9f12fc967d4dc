#include <algorithm>
#include <vector>

#include "common/collective/frame.h"
#include "common/core/crc32c.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {

bool frame(Bytes bytes) {
  Input input(bytes);
  const bool right_checksum = input.take_byte() % 2 == 1;
  const Bytes head = input.take_bytes(collective::kFrameHeaderBytes);
  const Bytes rest = input.rest();
  const std::vector<uint8_t> payload(rest.begin(), rest.end());
  auto header = collective::decode_frame_header(head);
  check_data_loss_or_ok(header.status(), "decode_frame_header");
  if (!header.ok()) {
    return false;
  }
  check(std::ranges::equal(collective::encode_frame_header(*header), head),
        "a header has one code only");
  const auto total = static_cast<int64_t>(header->payload_bytes_total);
  check(header->tile < collective::tile_count(total), "the tile is one of the payload");
  check(header->payload_bytes == collective::tile_bytes(total, header->tile),
        "the length is that of the tile");
  check(header->payload_bytes <= collective::kFramePayloadBytesMax, "a tile is bounded");
  if (right_checksum) {
    header->payload_crc32c = core::crc32c(payload);
  }
  const absl::Status status = collective::check_payload(*header, payload);
  check_data_loss_or_ok(status, "check_payload");
  const bool right =
      payload.size() == header->payload_bytes && core::crc32c(payload) == header->payload_crc32c;
  check(status.ok() == right, "a payload passes with the right length and checksum only");
  return status.ok();
}

}  // namespace laconic::fuzz
