#include "common/compress/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "common/compress/input_check.h"
#include "common/core/payload_size.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

// 0 is refused: RefusesAnEmptyLayout.
const std::vector<int64_t> kSizes{1, 2, 15, 16, 17, 251, 255, 256, 257, 65535, 65536, 65537};

double squared_norm(std::span<const float> values) {
  double sum = 0;
  for (const float x : values) {
    sum += static_cast<double>(x) * static_cast<double>(x);
  }
  return sum;
}

// |D(Q(in)) - in|^2 / |in|^2; 0 for a zero vector.
double error_ratio(const Codec& codec, std::span<const float> in) {
  const auto payload = codec.encode(in);
  EXPECT_OK(payload.status());
  std::vector<float> out(in.size());
  EXPECT_OK(codec.decode(*payload, out));
  for (size_t i = 0; i < in.size(); ++i) {
    out[i] -= in[i];
  }
  const double norm = squared_norm(in);
  return norm > 0 ? squared_norm(out) / norm : 0;
}

// With what error feedback adds to encode_sum() and decode_add(), every codec gives the same bytes.
TEST(CodecTest, MeasuredSumsAndWhatIsTakenAwayHaveTheNormsOfTheirVectors) {
  for (const core::CodecSpec& spec : every_spec()) {
    for (const int64_t size : {1, 17, 4099, 65537}) {
      SCOPED_TRACE(absl::StrCat(describe(spec), ", size ", size));
      ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(size)));
      const std::vector<float> v = gauss(3, size);
      std::vector<float> plain = gauss(4, size);
      std::vector<float> measured = plain;
      std::vector<uint8_t> plain_bytes(static_cast<size_t>(codec->payload_bytes_max()));
      std::vector<uint8_t> measured_bytes(plain_bytes.size());
      EncodeState state;
      ASSERT_OK_AND_ASSIGN(const size_t count,
                           codec->encode_sum(v, 0.9F, plain, state, plain_bytes));
      state = {};
      EncodeSquares squares{.v = 7, .a = 7};
      ASSERT_OK_AND_ASSIGN(
          const size_t measured_count,
          codec->encode_sum_measured(v, 0.9F, measured, state, measured_bytes, squares));
      plain_bytes.resize(count);
      measured_bytes.resize(measured_count);
      EXPECT_EQ(measured_bytes, plain_bytes);
      EXPECT_TRUE(measured == plain);
      EXPECT_NEAR(squares.v / squared_norm(v), 1, 1e-12);
      EXPECT_NEAR(squares.a / squared_norm(plain), 1, 1e-12);
      ASSERT_OK(codec->decode_add(plain_bytes, -1.0F, plain));
      ASSERT_OK_AND_ASSIGN(const double left, codec->take_away(plain_bytes, squares.a, measured));
      EXPECT_TRUE(measured == plain);
      EXPECT_NEAR(left, squared_norm(plain), 1e-12 * squares.a);
    }
  }
}

TEST(CodecTest, MeanIsTheOrderedSumOfWhatThePayloadsDecodeToOverP) {
  for (const core::CodecSpec& spec : every_spec()) {
    for (const size_t ranks : {1, 2, 3, 7}) {
      constexpr int64_t kSize = 4099;
      SCOPED_TRACE(absl::StrCat(describe(spec), ", ranks ", ranks));
      ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(kSize)));
      std::vector<std::vector<uint8_t>> payloads;
      std::vector<std::span<const uint8_t>> views;
      std::vector<float> expected(kSize);
      for (size_t r = 0; r < ranks; ++r) {
        ASSERT_OK_AND_ASSIGN(auto payload, codec->encode(gauss(20 + r, kSize)));
        payloads.push_back(std::move(payload));
        ASSERT_OK(codec->decode_add(payloads.back(), 1.0F, expected));
      }
      for (float& sum : expected) {
        sum /= static_cast<float>(ranks);
      }
      views.assign(payloads.begin(), payloads.end());
      std::vector<float> mean(kSize, 5.0F);
      ASSERT_OK(codec->decode_mean(views, mean));
      EXPECT_TRUE(mean == expected);
      payloads.back().pop_back();
      views.assign(payloads.begin(), payloads.end());
      EXPECT_THAT(codec->decode_mean(views, mean),
                  StatusIs(absl::StatusCode::kDataLoss,
                           HasSubstr(absl::StrCat("payload from rank ", ranks - 1, ": "))));
    }
  }
}

TEST(CodecTest, TopKMeanOfABadPayloadWritesNothing) {
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(top_k(4, 0.01), flat(4099)));
  ASSERT_OK_AND_ASSIGN(const auto good, codec->encode(gauss(20, 4099)));
  std::vector<uint8_t> bad = good;
  bad.push_back(0);
  const std::vector<std::span<const uint8_t>> views = {good, bad};
  std::vector<float> mean(4099, 5.0F);
  EXPECT_THAT(codec->decode_mean(views, mean),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("payload from rank 1: ")));
  EXPECT_TRUE(mean == std::vector<float>(4099, 5.0F));
}

TEST(CodecTest, PayloadHasTheSizeOfTheEquation) {
  for (const core::CodecSpec& spec : every_spec()) {
    for (const int64_t size : kSizes) {
      SCOPED_TRACE(absl::StrCat(describe(spec), ", size ", size));
      const core::Layout layout = rows_of_seven(size);
      ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, layout));
      ASSERT_OK_AND_ASSIGN(const auto payload, codec->encode(gauss(1, size)));
      const auto bytes = static_cast<int64_t>(payload.size());
      EXPECT_EQ(codec->elements(), size);
      EXPECT_EQ(codec->payload_bytes_max(), core::payload_bytes_max(spec, layout));
      EXPECT_EQ(codec->fixed_size(), spec.kind != core::CodecKind::kTopK);
      if (codec->fixed_size()) {
        EXPECT_EQ(bytes, codec->payload_bytes_max());
      } else {
        EXPECT_LE(bytes, codec->payload_bytes_max());
      }
    }
  }
}

// Error feedback converges because every codec is a contraction: Stich et al. 2018, definition 2.1.
TEST(CodecTest, EveryCodecIsAContraction) {
  for (const core::CodecSpec& spec : every_spec()) {
    for (const int64_t size : {1, 2, 17, 251, 257, 65537}) {
      SCOPED_TRACE(absl::StrCat(describe(spec), ", size ", size));
      ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(size)));
      EXPECT_LT(error_ratio(*codec, gauss(2, size)), 1.0);
    }
  }
}

TEST(CodecTest, EqualInputsGiveEqualBytes) {
  std::vector<float> in = gauss(3, 1000);
  in[5] = 0.0F;
  std::vector<float> same = in;
  same[5] = -0.0F;  // == 0
  for (const core::CodecSpec& spec : every_spec()) {
    if (!spec.lossy()) {
      continue;
    }
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(1000)));
    ASSERT_OK_AND_ASSIGN(const auto first, codec->encode(in));
    ASSERT_OK_AND_ASSIGN(const auto second, codec->encode(same));
    EXPECT_EQ(first, second) << describe(spec);
  }
}

TEST(CodecTest, NoneKeepsEveryBit) {
  const std::vector<float> in = gauss(4, 257);
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(core::CodecSpec{}, flat(257)));
  ASSERT_OK_AND_ASSIGN(const auto payload, codec->encode(in));
  std::vector<float> out(in.size());
  ASSERT_OK(codec->decode(payload, out));
  EXPECT_EQ(out, in);
}

TEST(CodecTest, ExtremeFiniteInputsDecodeToFiniteNumbers) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const std::vector<std::vector<float>> patterns{
      {0.0F},           {kMax},           {-kMax, kMax},  {kTiny},
      {kTiny, -kTiny},  {kMax, kTiny, 0}, {-0.0F},        {kMax, 1.0F, -1e-20F},
      {3.4e38F, -1.0F}, {1e-39F, 3e-41F}, {1e-38F, 1e38F}};
  for (const core::CodecSpec& spec : every_spec()) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(300)));
    for (size_t p = 0; p < patterns.size(); ++p) {
      SCOPED_TRACE(absl::StrCat(describe(spec), ", pattern ", p));
      std::vector<float> in(300);
      for (size_t i = 0; i < in.size(); ++i) {
        in[i] = patterns[p][i % patterns[p].size()];
      }
      ASSERT_OK_AND_ASSIGN(const auto payload, codec->encode(in));
      std::vector<float> out(in.size());
      ASSERT_OK(codec->decode(payload, out));
      EXPECT_TRUE(all_finite(out));
    }
  }
}

TEST(CodecTest, ZerosDecodeToZeros) {
  const std::vector<float> in(300);
  for (const core::CodecSpec& spec : every_spec()) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, rows_of_seven(300)));
    EXPECT_EQ(error_ratio(*codec, in), 0) << describe(spec);
    ASSERT_OK_AND_ASSIGN(const auto payload, codec->encode(in));
    std::vector<float> out(in.size(), 1.0F);
    ASSERT_OK(codec->decode(payload, out));
    EXPECT_EQ(out, in) << describe(spec);
  }
}

TEST(CodecTest, EncodeRefusesNansAndInfinitiesAndSaysWhere) {
  for (const core::CodecSpec& spec : every_spec()) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(40)));
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      std::vector<float> in(40, 1.0F);
      in[17] = bad;
      EXPECT_THAT(codec->encode(in),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 17")));
    }
  }
}

TEST(CodecTest, RefusesVectorsOfAnotherLength) {
  for (const core::CodecSpec& spec : every_spec()) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(40)));
    for (const size_t length : {0, 39, 41}) {
      EXPECT_THAT(codec->encode(std::vector<float>(length)),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 40")));
    }
    ASSERT_OK_AND_ASSIGN(const auto payload, codec->encode(std::vector<float>(40)));
    std::vector<float> shorter(39);
    EXPECT_THAT(codec->decode(payload, shorter),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for 40")));
  }
}

// Reference values: normal data, 32 Mi elements, measured in numpy, from the project's table of
// value codes; 2 bits: Max 1960, table I, N = 4.
struct NmseCase {
  core::CodecSpec spec;
  double expected;
};
class NmseTest : public ::testing::TestWithParam<NmseCase> {};

TEST_P(NmseTest, AgreesWithTheReferenceOnNormalData) {
  // Sampling error of 2^20 elements is below 0.5 %; bfloat16 scales, rounded up, add 1 to 2 %.
  constexpr double kRelativeTolerance = 0.03;
  constexpr int64_t kElements = 1 << 20;
  const auto& [spec, expected] = GetParam();
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(kElements)));
  EXPECT_NEAR(error_ratio(*codec, gauss(5, kElements)), expected, kRelativeTolerance * expected);
}

INSTANTIATE_TEST_SUITE_P(Table, NmseTest,
                         ::testing::Values(NmseCase{quantize_blocks(8, 256), 4.8e-5},
                                           NmseCase{quantize_blocks(4, 64), 1.16e-2},
                                           NmseCase{quantize_blocks(2, 65536), 0.1175},
                                           NmseCase{quantize_blocks(1, 256), 0.36},
                                           NmseCase{top_k(8, 0.01), 0.916},
                                           NmseCase{top_k(2, 0.01), 0.9163},
                                           NmseCase{top_k(1, 0.0625), 0.683}),
                         [](const auto& row) { return absl::StrCat("Row", row.index); });

TEST(MakeCodecTest, RefusesAnEmptyLayout) {
  for (const core::CodecSpec& spec : every_spec()) {
    EXPECT_THAT(make_codec(spec, core::Layout{}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no elements")));
  }
}

TEST(MakeCodecTest, RefusesShapesBelowOneAndAboveTheLimit) {
  const int64_t huge = int64_t{1} << 40;
  for (const core::TensorShape& shape :
       {core::TensorShape{"w", 0, 5}, core::TensorShape{"w", 5, 0}, core::TensorShape{"w", -1, -5},
        core::TensorShape{"w", huge, huge},
        core::TensorShape{"w", 1, core::kCodecElementsMax + 1}}) {
    EXPECT_THAT(make_codec(core::CodecSpec{}, core::Layout{.tensors = {{"b", 1, 1}, shape}}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'w'")));
  }
}

TEST(MakeCodecTest, RefusesBitsBlocksAndDensitiesOutsideTheirRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const core::CodecSpec& spec :
       {quantize_blocks(3, 256), quantize_blocks(0, 256), quantize_blocks(32, 256),
        quantize_rows(16), quantize_blocks(8, 0), quantize_blocks(8, -16), quantize_blocks(8, 8),
        quantize_blocks(8, 48), quantize_blocks(8, 131072), top_k(3, 0.1), top_k(16, 0.1),
        top_k(4, 0), top_k(4, -0.1), top_k(4, 0.51), top_k(4, 1.5), top_k(4, nan)}) {
    EXPECT_THAT(make_codec(spec, flat(100)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed")))
        << describe(spec);
  }
}

}  // namespace
}  // namespace laconic::compress
