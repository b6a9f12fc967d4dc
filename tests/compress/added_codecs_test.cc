// What every codec beside none, quantize and top-k promises by its interface, and payloads from a
// peer that lies. What one codec alone promises is in its own test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/compress/codec.h"
#include "common/compress/error_feedback.h"
#include "common/compress/input_check.h"
#include "common/core/payload_size.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

constexpr int64_t kElements = 61;
constexpr int kRandomBuffers = 5'000;
const std::vector<int64_t> kSizes{1, 2, 15, 16, 17, 251, 255, 256, 257, 4095, 4097, 65537};

core::CodecSpec rand_k(double density, bool scaled) {
  return {.kind = core::CodecKind::kRandK, .density = density, .scaled = scaled};
}

core::CodecSpec perm_k(int rank, int world_size, bool scaled) {
  return {
      .kind = core::CodecKind::kPermK, .scaled = scaled, .rank = rank, .world_size = world_size};
}

core::CodecSpec chunked(int bits, int64_t per_chunk, int64_t chunk) {
  return {
      .kind = core::CodecKind::kChunkedTopK, .bits = bits, .chunk = chunk, .per_chunk = per_chunk};
}

core::CodecSpec stochastic(int bits, bool rows) {
  return {.kind = core::CodecKind::kQuantize,
          .bits = bits,
          .rows = rows,
          .block = 64,
          .stochastic = true};
}

core::CodecSpec exponential(int bits) {
  return {.kind = core::CodecKind::kExponential, .bits = bits};
}

core::CodecSpec exponential_top_k(int bits, double density) {
  core::CodecSpec spec = top_k(bits, density);
  spec.exponential = true;
  return spec;
}

core::CodecSpec low_rank(int factors) {
  return {.kind = core::CodecKind::kLowRank, .factors = factors};
}

core::CodecSpec entropy(core::CodecSpec spec) {
  spec.entropy = true;
  return spec;
}

std::vector<core::CodecSpec> added_specs() {
  return {exponential(4),
          exponential(3),
          exponential(2),
          low_rank(1),
          low_rank(3),
          entropy(quantize_rows(8)),
          entropy(quantize_blocks(4, 64)),
          entropy(exponential(4)),
          entropy(stochastic(4, false)),
          entropy(chunked(4, 16, 64)),
          entropy({.kind = core::CodecKind::kNatural}),
          exponential_top_k(4, 0.1),
          exponential_top_k(3, 0.5),
          exponential_top_k(2, 0.01),
          entropy(exponential_top_k(4, 0.5)),
          entropy(top_k(32, 0.1)),
          entropy(top_k(8, 0.5)),
          entropy(top_k(4, 0.1)),
          entropy(top_k(2, 0.01)),
          chunked(32, 16, 64),
          chunked(8, 3, 64),
          chunked(4, 64, 4096),
          chunked(2, 1, 65536),
          {.kind = core::CodecKind::kNatural},
          stochastic(8, false),
          stochastic(4, true),
          rand_k(0.01, false),
          rand_k(0.5, true),
          perm_k(0, 1, false),
          perm_k(2, 3, true),
          perm_k(5, 7, false)};
}

class AddedCodecTest : public ::testing::TestWithParam<core::CodecSpec> {
 protected:
  static std::unique_ptr<Codec> make(int64_t elements) {
    auto codec = make_codec(GetParam(), rows_of_seven(elements));
    EXPECT_OK(codec.status());
    return *std::move(codec);
  }
  static std::vector<float> decoded(const Codec& codec, std::span<const uint8_t> payload) {
    std::vector<float> out(static_cast<size_t>(codec.elements()), 7.0F);
    EXPECT_OK(codec.decode(payload, out));
    return out;
  }
  // Returns true for DataLoss or finite numbers.
  static bool is_survived(const Codec& codec, std::span<const uint8_t> bytes) {
    std::vector<float> out(static_cast<size_t>(codec.elements()));
    const absl::Status status = codec.decode(bytes, out);
    return absl::IsDataLoss(status) || (status.ok() && all_finite(out));
  }
  static bool is_data_loss(const Codec& codec, std::span<const uint8_t> bytes) {
    std::vector<float> out(static_cast<size_t>(codec.elements()));
    return absl::IsDataLoss(codec.decode(bytes, out));
  }
};

TEST_P(AddedCodecTest, PayloadHasTheSizeOfTheEquation) {
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const auto codec = make(size);
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, size)));
    const auto bytes = static_cast<int64_t>(payload.size());
    const core::Layout layout = rows_of_seven(size);
    EXPECT_EQ(codec->elements(), size);
    EXPECT_EQ(codec->payload_bytes_max(), core::payload_bytes_max(GetParam(), layout));
    EXPECT_EQ(codec->fixed_size(), !core::payload_size_varies(GetParam(), layout));
    EXPECT_LE(bytes, codec->payload_bytes_max());
    if (codec->fixed_size()) {
      EXPECT_EQ(bytes, codec->payload_bytes_max());
    }
    EXPECT_GE(codec->payload_bytes_expected(), 1);
    EXPECT_LE(codec->payload_bytes_expected(), codec->payload_bytes_max());
  }
}

TEST_P(AddedCodecTest, DecodeAddAddsTheSignedDecodedValues) {
  const auto codec = make(257);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, 257)));
  const std::vector<float> out = decoded(*codec, payload);
  for (const float sign : {1.0F, -1.0F}) {
    const std::vector<float> start = gauss(2, 257);
    std::vector<float> sum = start;
    ASSERT_OK(codec->decode_add(payload, sign, sum));
    for (size_t i = 0; i < sum.size(); ++i) {
      ASSERT_EQ(sum[i], start[i] + sign * out[i]) << i;
    }
  }
}

TEST_P(AddedCodecTest, EqualInputsGiveEqualBytes) {
  const auto codec = make(257);
  std::vector<float> in = gauss(3, 257);
  std::fill(in.begin(), in.begin() + 50, 0.0F);
  std::vector<float> same = in;
  std::fill(same.begin(), same.begin() + 50, -0.0F);  // == 0
  ASSERT_OK_AND_ASSIGN(const Bytes first, codec->encode(in));
  ASSERT_OK_AND_ASSIGN(const Bytes second, codec->encode(same));
  EXPECT_EQ(first, second);
}

TEST_P(AddedCodecTest, ExtremeFiniteInputsDecodeToFiniteNumbers) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const std::vector<std::vector<float>> patterns{
      {kMax},  {-kMax, kMax},         {kTiny},          {kTiny, -kTiny},  {kMax, kTiny, 0},
      {-0.0F}, {kMax, 1.0F, -1e-20F}, {3.4e38F, -1.0F}, {1e-39F, 3e-41F}, {1e-38F, 1e38F}};
  const auto codec = make(300);
  for (const std::vector<float>& pattern : patterns) {
    std::vector<float> in(300);
    for (size_t i = 0; i < in.size(); ++i) {
      in[i] = pattern[i % pattern.size()];
    }
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(in));
    EXPECT_TRUE(all_finite(decoded(*codec, payload)));
  }
}

TEST_P(AddedCodecTest, ZerosDecodeToZeros) {
  const auto codec = make(300);
  const std::vector<float> zeros(300);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(zeros));
  EXPECT_EQ(decoded(*codec, payload), zeros);
}

TEST_P(AddedCodecTest, RefusesNansInfinitiesAndWrongLengths) {
  const auto codec = make(40);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> in(40, 1.0F);
    in[17] = bad;
    EXPECT_THAT(codec->encode(in),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 17")));
  }
  for (const size_t length : {0, 39, 41}) {
    EXPECT_THAT(codec->encode(std::vector<float>(length)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 40")));
  }
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(std::vector<float>(40)));
  std::vector<float> shorter(39);
  EXPECT_THAT(codec->decode(payload, shorter),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 40")));
  EXPECT_THAT(codec->decode_add(payload, 1, shorter),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 40")));
  Bytes room(static_cast<size_t>(codec->payload_bytes_max() - 1));
  EncodeState state;
  EXPECT_THAT(codec->encode(std::vector<float>(40), state, room),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("room")));
}

// docs: e' == a - D(Q(a)) bit for bit, and a retry after a rollback sends the same bytes.
TEST_P(AddedCodecTest, ErrorFeedbackKeepsExactlyWhatReceiversMiss) {
  const auto codec = make(kElements);
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  for (uint64_t round = 0; round < 5; ++round) {
    const std::vector<float> before(feedback.residual().begin(), feedback.residual().end());
    const std::vector<float> v = gauss(100 + round, kElements);
    ASSERT_OK_AND_ASSIGN(const auto first, feedback.encode(v, round));
    const Bytes sent(first->bytes().begin(), first->bytes().end());
    feedback.rollback();
    ASSERT_OK_AND_ASSIGN(const auto again, feedback.encode(v, round));
    ASSERT_EQ(Bytes(again->bytes().begin(), again->bytes().end()), sent);
    ASSERT_OK(feedback.commit().status());
    const std::vector<float> out = decoded(*codec, sent);
    for (size_t i = 0; i < v.size(); ++i) {
      ASSERT_EQ(feedback.residual()[i], before[i] + v[i] - out[i]) << i;
    }
  }
}

TEST_P(AddedCodecTest, EveryTruncationAndTrailingBytesAreDataLoss) {
  const auto codec = make(kElements);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, kElements)));
  for (size_t length = 0; length < payload.size(); ++length) {
    // A buffer of exactly this size, so that the sanitizer sees a read behind it.
    const Bytes bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_TRUE(is_data_loss(*codec, bytes)) << length;
  }
  for (const size_t more : {1, 2, 4, 7, 4096}) {
    for (const uint8_t fill : Bytes{0x00, 0xFF}) {
      Bytes bytes = payload;
      bytes.insert(bytes.end(), more, fill);
      EXPECT_TRUE(is_data_loss(*codec, bytes)) << more;
    }
  }
  for (size_t length = 1; length <= payload.size() + 1; ++length) {
    EXPECT_TRUE(is_data_loss(*codec, Bytes(length, 0xFF))) << length;
  }
}

TEST_P(AddedCodecTest, DamagedAndRandomBytesAreSurvived) {
  const auto codec = make(kElements);
  ASSERT_OK_AND_ASSIGN(Bytes payload, codec->encode(gauss(1, kElements)));
  for (size_t bit = 0; bit < 8 * payload.size(); ++bit) {
    payload[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    EXPECT_TRUE(is_survived(*codec, payload)) << "bit " << bit;
    payload[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
  core::Random random(11);
  for (int i = 0; i < kRandomBuffers; ++i) {
    Bytes bytes(i % 4 == 0 ? random.below(2 * payload.size()) : payload.size());
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    ASSERT_TRUE(is_survived(*codec, bytes)) << "random buffer " << i;
    bytes = payload;
    for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
      bytes[random.below(bytes.size())] = static_cast<uint8_t>(random());
    }
    ASSERT_TRUE(is_survived(*codec, bytes)) << "damaged buffer " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, AddedCodecTest, ::testing::ValuesIn(added_specs()),
                         [](const auto& row) {
                           return absl::StrCat("Kind", static_cast<int>(row.param.kind), "Row",
                                               row.index);
                         });

}  // namespace
}  // namespace laconic::compress
