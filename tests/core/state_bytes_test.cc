#include "common/core/state_bytes.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "common/core/digest.h"
#include "tests/testing/status_matchers.h"

namespace laconic::core {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

std::vector<uint8_t> sample() {
  StateWriter writer;
  writer.text("dense");
  writer.integer(-7);
  writer.floats(std::vector<float>{1.5F, -0.0F, 1e-42F});
  writer.halves(std::vector<uint16_t>{1, 65535});
  writer.floats({});
  writer.bytes(std::vector<uint8_t>{9, 8, 7});
  return std::move(writer).take();
}

// The digest over changed bytes, so that what lies behind it is reached.
std::vector<uint8_t> sealed(std::vector<uint8_t> bytes) {
  const uint64_t sum = digest(std::span<const uint8_t>(bytes).first(bytes.size() - 8));
  std::memcpy(bytes.data() + bytes.size() - 8, &sum, 8);
  return bytes;
}

TEST(StateBytesTest, FieldsComeBackBitForBit) {
  const std::vector<uint8_t> bytes = sample();
  ASSERT_OK_AND_ASSIGN(StateReader reader, StateReader::open(bytes));
  EXPECT_OK(reader.expect_text("method", "dense"));
  ASSERT_OK_AND_ASSIGN(const int64_t number, reader.integer("step", -10, 10));
  EXPECT_EQ(number, -7);
  EXPECT_EQ(reader.next_length(), 3U);
  std::vector<float> floats(3);
  ASSERT_OK(reader.floats(floats));
  EXPECT_EQ(floats[0], 1.5F);
  EXPECT_TRUE(std::signbit(floats[1]));
  EXPECT_EQ(floats[2], 1e-42F);
  std::vector<uint16_t> halves(2);
  ASSERT_OK(reader.halves(halves));
  EXPECT_EQ(halves, (std::vector<uint16_t>{1, 65535}));
  EXPECT_OK(reader.floats({}));
  ASSERT_OK_AND_ASSIGN(const std::span<const uint8_t> inner, reader.bytes());
  EXPECT_EQ(std::vector<uint8_t>(inner.begin(), inner.end()), (std::vector<uint8_t>{9, 8, 7}));
  EXPECT_OK(reader.done());
}

TEST(StateBytesTest, BytesHaveTheDocumentedLayout) {
  StateWriter writer;
  writer.integer(258);
  const std::vector<uint8_t> bytes = std::move(writer).take();
  const std::vector<uint8_t> fields(bytes.begin(), bytes.end() - 8);
  EXPECT_EQ(fields, (std::vector<uint8_t>{'L', 'A', 'C', 'S', 1, 0, 0, 0,     // magic, version
                                          2,   1,   0,   0,   0, 0, 0, 0, 0,  // integer, one
                                          2,   1,   0,   0,   0, 0, 0, 0}));
}

TEST(StateBytesTest, EveryFlippedBitIsRefused) {
  const std::vector<uint8_t> good = sample();
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] = static_cast<uint8_t>(bad[bit / 8] ^ (1U << (bit % 8)));
    EXPECT_THAT(StateReader::open(bad).status(),
                StatusIs(absl::StatusCode::kDataLoss, ::testing::_))
        << bit;
  }
}

TEST(StateBytesTest, EveryShorterPieceIsRefused) {
  const std::vector<uint8_t> good = sample();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(StateReader::open(std::span(good).first(size)).status(),
                StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
}

TEST(StateBytesTest, AnotherVersionIsRefused) {
  std::vector<uint8_t> bytes = sample();
  bytes[4] = 2;
  EXPECT_THAT(StateReader::open(sealed(bytes)).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("version 2")));
}

TEST(StateBytesTest, LengthBeyondTheBytesIsRefusedBeforeAnythingIsRead) {
  StateWriter writer;
  writer.floats(std::vector<float>(2));
  std::vector<uint8_t> bytes = std::move(writer).take();
  for (const uint64_t claimed : {uint64_t{3}, uint64_t{1} << 62, UINT64_MAX}) {
    std::memcpy(bytes.data() + 9, &claimed, sizeof(claimed));
    const std::vector<uint8_t> hostile = sealed(bytes);
    ASSERT_OK_AND_ASSIGN(StateReader reader, StateReader::open(hostile));
    std::vector<float> floats(3);
    EXPECT_THAT(reader.floats(floats), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
    EXPECT_THAT(reader.expect_text("method", "dense"),
                StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
}

TEST(StateBytesTest, FieldOfAnotherKindLengthOrRangeIsRefused) {
  const std::vector<uint8_t> bytes = sample();
  ASSERT_OK_AND_ASSIGN(StateReader reader, StateReader::open(bytes));
  EXPECT_THAT(reader.integer().status(), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  EXPECT_THAT(
      reader.expect_text("method", "local"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("its method is \"dense\"")));
  EXPECT_THAT(reader.integer("step", 0, 5).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step is -7")));
  std::vector<float> four(4);
  EXPECT_THAT(reader.floats(four), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  EXPECT_THAT(reader.done(), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
}

TEST(StateBytesTest, NumberThatIsNotFiniteIsRefused) {
  StateWriter writer;
  writer.floats(std::vector<float>{1, std::numeric_limits<float>::infinity()});
  const std::vector<uint8_t> bytes = std::move(writer).take();
  ASSERT_OK_AND_ASSIGN(StateReader reader, StateReader::open(bytes));
  std::vector<float> floats(2);
  EXPECT_THAT(reader.floats(floats), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
}

}  // namespace
}  // namespace laconic::core
