#include "common/core/bits.h"

#include <gtest/gtest.h>

#include <utility>

#include "common/core/random.h"

namespace laconic::core {
namespace {

TEST(BitWriterTest, PutsTheFirstBitLowestInTheFirstByte) {
  std::vector<uint8_t> bytes;
  BitWriter bits(bytes);
  bits.put(1, 1);
  bits.put(0b10, 2);
  bits.put(0x1FF, 9);
  bits.finish();
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0b11111'10'1, 0b0000'1111}));
}

TEST(BitWriterTest, WritesNothingForNoBits) {
  std::vector<uint8_t> bytes;
  BitWriter bits(bytes);
  bits.put(0, 0);
  bits.put_zeros(0);
  bits.finish();
  EXPECT_TRUE(bytes.empty());
}

TEST(BitWriterTest, PutsLongRunsOfZeros) {
  std::vector<uint8_t> bytes;
  BitWriter bits(bytes);
  bits.put_zeros(67);
  bits.put(1, 1);
  bits.finish();
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 8}));
}

TEST(BitReaderTest, ReadsBackFieldsOfEveryWidth) {
  Random random(1);
  std::vector<std::pair<uint32_t, int>> fields;
  std::vector<uint8_t> bytes;
  BitWriter writer(bytes);
  for (int i = 0; i < 2000; ++i) {
    const int bits = static_cast<int>(random.below(33));
    const auto value = static_cast<uint32_t>(random() & ((uint64_t{1} << bits) - 1));
    fields.emplace_back(value, bits);
    writer.put(value, bits);
  }
  writer.finish();
  BitReader reader(bytes);
  for (const auto& [value, bits] : fields) {
    ASSERT_EQ(reader.get(bits), value) << bits << " bits before bit " << reader.position();
  }
  EXPECT_FALSE(reader.overrun());
  EXPECT_TRUE(reader.rest_is_zero());
}

TEST(BitReaderTest, ReadingPastTheEndGivesZerosAndIsRemembered) {
  const std::vector<uint8_t> bytes{0xFF, 0xFF, 0xFF};
  BitReader reader(bytes);
  EXPECT_EQ(reader.get(20), 0xFFFFFu);
  EXPECT_EQ(reader.get(5), 0u);
  EXPECT_TRUE(reader.overrun());
  EXPECT_EQ(reader.bits_left(), 0);
  EXPECT_EQ(reader.get(1), 0u);
}

TEST(BitReaderTest, HugeSkipIsAnOverrunNotAnOverflow) {
  const std::vector<uint8_t> bytes{0xFF};
  BitReader reader(bytes);
  reader.get(3);
  reader.skip(INT64_MAX);
  EXPECT_TRUE(reader.overrun());
  EXPECT_EQ(reader.bits_left(), 0);
}

TEST(BitReaderTest, EmptyBytesHoldNoBits) {
  BitReader reader(std::span<const uint8_t>{});
  EXPECT_EQ(reader.get(0), 0u);
  EXPECT_FALSE(reader.overrun());
  EXPECT_EQ(reader.get(1), 0u);
  EXPECT_TRUE(reader.overrun());
}

TEST(BitReaderTest, FindsASetBitInTheRest) {
  std::vector<uint8_t> bytes(9, 0);
  bytes.back() = 0x80;
  BitReader reader(bytes);
  reader.get(3);
  EXPECT_FALSE(reader.rest_is_zero());
}

}  // namespace
}  // namespace laconic::core
