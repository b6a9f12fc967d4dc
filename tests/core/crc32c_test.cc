#include "common/core/crc32c.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "common/core/random.h"

namespace laconic::core {
namespace {

// One bit at a time, by the definition.
uint32_t crc32c_by_bit(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    }
  }
  return ~crc;
}

std::vector<uint8_t> random_bytes(size_t count) {
  Random random(count);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  return bytes;
}

// RFC 3720, appendix B.4.
TEST(Crc32cTest, MatchesThePublishedVectors) {
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0)), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0xFF)), 0x62A8AB43u);
  std::vector<uint8_t> ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
}

TEST(Crc32cTest, EveryFlippedBitOfAnOddLengthChangesTheResult) {
  std::vector<uint8_t> bytes(13, 0x5A);
  const uint32_t before = crc32c(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    EXPECT_NE(crc32c(bytes), before) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  }
}

TEST(Crc32cTest, EveryWayAgreesWithTheDefinitionAtEveryLengthAndAlignment) {
  const std::vector<uint8_t> bytes = random_bytes(3'000);
  std::vector<size_t> lengths(200);
  std::iota(lengths.begin(), lengths.end(), size_t{0});
  // Around one, two and three rounds of three streams of 256 bytes.
  for (const size_t streams : {768, 1536, 2304}) {
    for (size_t length = streams - 9; length <= streams + 9; ++length) {
      lengths.push_back(length);
    }
  }
  for (const size_t length : lengths) {
    for (const size_t offset : {0, 1, 7}) {
      const std::span<const uint8_t> part = std::span(bytes).subspan(offset, length);
      const uint32_t expected = crc32c_by_bit(part);
      ASSERT_EQ(crc32c(part), expected) << length << " bytes at " << offset;
      ASSERT_EQ(crc32c_by_table(part), expected) << length << " bytes at " << offset;
    }
  }
}

TEST(Crc32cTest, EveryStreamCounts) {
  std::vector<uint8_t> bytes = random_bytes(768);
  const uint32_t before = crc32c(bytes);
  for (const size_t at : {0, 255, 256, 511, 512, 767}) {
    bytes[at] ^= 0x10;
    EXPECT_NE(crc32c(bytes), before) << "byte " << at;
    bytes[at] ^= 0x10;
  }
}

}  // namespace
}  // namespace laconic::core
