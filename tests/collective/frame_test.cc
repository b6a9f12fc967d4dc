#include "common/collective/frame.h"

#include <vector>

#include "common/core/crc32c.h"
#include "tests/testing/status_matchers.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

FrameHeader example() {
  FrameHeader header;
  header.kind = FrameKind::kPart;
  header.lane_sequence = 0xABCD;
  header.generation = 0x0102030405060708;
  header.op_sequence = 9;
  header.round = 10;
  header.previous_digest = 0xFEDCBA9876543210;
  header.from_rank = 3;
  header.to_rank = 0x1234;
  header.tile = 2;
  header.payload_bytes_total = 2 * kFramePayloadBytesMax + 77;
  header.payload_bytes = 77;
  header.payload_crc32c = 0xCAFEF00D;
  return header;
}

// Changes bytes at `offset` of an encoded example, little-endian.
std::vector<uint8_t> example_with(size_t offset, std::vector<uint8_t> bytes) {
  const auto encoded = encode_frame_header(example());
  std::vector<uint8_t> changed(encoded.begin(), encoded.end());
  std::copy(bytes.begin(), bytes.end(), changed.begin() + static_cast<std::ptrdiff_t>(offset));
  return changed;
}

TEST(FrameTest, EveryFieldComesBackFromItsBytes) {
  ASSERT_OK_AND_ASSIGN(const FrameHeader decoded,
                       decode_frame_header(encode_frame_header(example())));
  EXPECT_EQ(decoded, example());
}

// The table of docs/wire-format.md.
TEST(FrameTest, BytesLieWhereTheDocumentSays) {
  const std::vector<uint8_t> expected = {
      'L',  'C',  'N',  'F',  1,    2,    0xCD, 0xAB,  // magic, version, kind, lane_sequence
      8,    7,    6,    5,    4,    3,    2,    1,    9,  0, 0, 0,
      0,    0,    0,    0,                                          // generation, op_sequence
      10,   0,    0,    0,    0,    0,    0,    0,                  // round
      0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE,               // previous_digest
      3,    0,    0x34, 0x12, 2,    0,    0,    0,                  // from_rank, to_rank, tile
      77,   0,    0x20, 0,    0,    0,    0,    0,    77, 0, 0, 0,  // total, payload_bytes
      0x0D, 0xF0, 0xFE, 0xCA};                                      // payload_crc32c
  const auto encoded = encode_frame_header(example());
  EXPECT_EQ(std::vector<uint8_t>(encoded.begin(), encoded.end()), expected);
}

TEST(FrameTest, RejectsEveryOtherSize) {
  const auto encoded = encode_frame_header(example());
  std::vector<uint8_t> bytes(encoded.begin(), encoded.end());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(decode_frame_header(std::span(bytes).first(size)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("header of")));
  }
  bytes.push_back(0);
  EXPECT_THAT(decode_frame_header(bytes),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("header of 65 bytes")));
}

TEST(FrameTest, EveryFlippedBitIsRejectedOrGivesAnotherHeaderInRange) {
  const auto encoded = encode_frame_header(example());
  int rejected = 0;
  for (size_t bit = 0; bit < encoded.size() * 8; ++bit) {
    auto bytes = encoded;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    const absl::StatusOr<FrameHeader> header = decode_frame_header(bytes);
    if (!header.ok()) {
      EXPECT_EQ(header.status().code(), absl::StatusCode::kDataLoss) << "bit " << bit;
      ++rejected;
      continue;
    }
    EXPECT_NE(*header, example()) << "bit " << bit;
    EXPECT_NE(header->from_rank, header->to_rank);
    const int64_t total = static_cast<int64_t>(header->payload_bytes_total);
    ASSERT_LE(total, kPayloadBytesTotalMax);
    ASSERT_LT(header->tile, tile_count(total));
    EXPECT_EQ(header->payload_bytes, tile_bytes(total, header->tile));
  }
  // Magic, version and the length whole: 32 + 8 + 32 bits at least.
  EXPECT_GE(rejected, 72);
}

TEST(FrameTest, SaysWhatIsWrongWithAHeader) {
  const auto loss = absl::StatusCode::kDataLoss;
  EXPECT_THAT(decode_frame_header(example_with(0, {'X'})), StatusIs(loss, HasSubstr("magic")));
  EXPECT_THAT(decode_frame_header(example_with(4, {2})), StatusIs(loss, HasSubstr("version 2")));
  EXPECT_THAT(decode_frame_header(example_with(5, {0})), StatusIs(loss, HasSubstr("kind 0")));
  EXPECT_THAT(decode_frame_header(example_with(5, {5})), StatusIs(loss, HasSubstr("kind 5")));
  EXPECT_THAT(decode_frame_header(example_with(42, {3, 0})),
              StatusIs(loss, HasSubstr("from rank 3 to itself")));
  EXPECT_THAT(decode_frame_header(example_with(44, {3})),
              StatusIs(loss, HasSubstr("tile 3 of a payload of 3 tiles")));
  EXPECT_THAT(decode_frame_header(example_with(55, {0xFF})), StatusIs(loss, HasSubstr("limit is")));
  EXPECT_THAT(decode_frame_header(example_with(56, {78})), StatusIs(loss, HasSubstr("78 bytes")));
}

TEST(FrameTest, CutsPayloadsAtTheTileBoundary) {
  EXPECT_EQ(tile_count(0), 1);
  EXPECT_EQ(tile_bytes(0, 0), 0);
  EXPECT_EQ(tile_count(kFramePayloadBytesMax - 1), 1);
  EXPECT_EQ(tile_count(kFramePayloadBytesMax), 1);
  EXPECT_EQ(tile_bytes(kFramePayloadBytesMax, 0), kFramePayloadBytesMax);
  EXPECT_EQ(tile_count(kFramePayloadBytesMax + 1), 2);
  EXPECT_EQ(tile_bytes(kFramePayloadBytesMax + 1, 1), 1);
}

TEST(FrameTest, PayloadOfWrongLengthOrChecksumIsRejected) {
  const std::vector<uint8_t> payload = {1, 2, 3, 4, 5};
  FrameHeader header;
  header.payload_bytes = 5;
  header.payload_crc32c = core::crc32c(payload);
  EXPECT_OK(check_payload(header, payload));
  EXPECT_THAT(check_payload(header, std::span(payload).first(4)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4 bytes of payload")));
  EXPECT_THAT(check_payload(header, std::vector<uint8_t>{1, 2, 3, 4, 4}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
}

}  // namespace
}  // namespace laconic::collective
