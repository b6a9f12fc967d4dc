#include "common/compress/exponential_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/compress/exponential_levels.h"
#include "common/compress/value_coder.h"
#include "tests/compress/distributions.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

constexpr int64_t kMany = 1 << 18;

core::CodecSpec exponential(int bits) {
  return {.kind = core::CodecKind::kExponential, .bits = bits};
}

double codec_error(int bits, const Floats& in) {
  const auto codec = make_codec(exponential(bits), flat(static_cast<int64_t>(in.size())));
  EXPECT_OK(codec.status());
  const auto payload = (*codec)->encode(in);
  EXPECT_OK(payload.status());
  Floats out(in.size());
  EXPECT_OK((*codec)->decode(*payload, out));
  return error_ratio(in, out);
}

double value_code_error(core::ValueCode code, const Floats& in) {
  const ValueCoder coder(code, even_groups(static_cast<int64_t>(in.size()), 256));
  Bytes bytes;
  coder.encode(in, bytes);
  Floats out(in.size());
  EXPECT_OK(coder.decode(bytes, out));
  return error_ratio(in, out);
}

struct ErrorCase {
  Distribution distribution;
  int bits;
  double with_bin_means;  // the project's table of exponential levels, 10^5 samples
  double lloyd_max;       // the bound, same table
};
class ExponentialErrorTest : public ::testing::TestWithParam<ErrorCase> {};

TEST_P(ExponentialErrorTest, LiesBetweenTheTableAndLloydMax) {
  const auto& [distribution, bits, with_bin_means, lloyd_max] = GetParam();
  const double error = codec_error(bits, draw(distribution, 1, kMany));
  EXPECT_LT(error, 1.04 * with_bin_means);  // other samples, levels in bfloat16
  EXPECT_GT(error, 0.97 * lloyd_max);
}

INSTANTIATE_TEST_SUITE_P(Table, ExponentialErrorTest,
                         ::testing::Values(ErrorCase{Distribution::kGauss, 3, .0373, .0343},
                                           ErrorCase{Distribution::kGauss, 4, .0122, .0094},
                                           ErrorCase{Distribution::kLaplace, 3, .0573, .0546},
                                           ErrorCase{Distribution::kLaplace, 4, .0188, .0157}),
                         [](const auto& row) { return absl::StrCat("Row", row.index); });

// On t(3) a scale per 256 values is worth more than a better progression: docs/algorithms.md.
TEST(ExponentialCodecTest, BeatsLogLevelsOnGaussAndLaplace) {
  for (const Distribution distribution : {Distribution::kGauss, Distribution::kLaplace}) {
    const Floats in = draw(distribution, 1, kMany);
    EXPECT_LT(codec_error(4, in), 0.6 * value_code_error(core::ValueCode::kLog4, in));
    EXPECT_LT(codec_error(3, in), codec_error(2, in));
    EXPECT_LT(codec_error(4, in), codec_error(3, in));
  }
}

TEST(ExponentialCodecTest, WritesTheDocumentedBytes) {
  // Two magnitudes, two levels at 2 bits: 1 and 4. Signs in the upper bit: 0, 1, 2, 3, 0.
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(exponential(2), flat(5)));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(Floats{1, 4, -1, -4, 1}));
  EXPECT_THAT(payload, ElementsAre(0x80, 0x3F, 0x80, 0x40, 0xE4, 0x00));
}

TEST(ExponentialCodecTest, EveryTensorHasLevelsOfItsOwn) {
  const core::Layout layout = {.tensors = {{"large", 1, 64}, {"small", 1, 64}}};
  Floats in = gauss(1, 128);
  for (size_t i = 0; i < 64; ++i) {
    in[i] *= 1e6F;
  }
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(exponential(4), layout));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(in));
  Floats out(128);
  ASSERT_OK(codec->decode(payload, out));
  EXPECT_LT(error_ratio(Floats(in.begin() + 64, in.end()), Floats(out.begin() + 64, out.end())),
            0.02);
}

TEST(ExponentialLevelsTest, FindsTheProgressionThatMadeTheData) {
  Floats in;
  for (const float level : {8.0F, 4.0F, 2.0F, 1.0F}) {
    in.insert(in.end(), 10, level);
    in.insert(in.end(), 10, -level);
  }
  const Levels levels = fit_exponential_levels(in, 4);
  EXPECT_THAT(std::span(levels.magnitude).first(4), ElementsAre(1, 2, 4, 8));
}

TEST(ExponentialCodecTest, RefusesLevelsOutOfOrderInfiniteOrNegative) {
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(exponential(2), flat(5)));
  ASSERT_OK_AND_ASSIGN(const Bytes good, codec->encode(Floats{1, 4, -1, -4, 1}));
  Floats out(5);
  for (const Bytes& levels : {Bytes{0x80, 0x40, 0x80, 0x3F}, Bytes{0x80, 0x3F, 0x80, 0x7F},
                              Bytes{0x80, 0xBF, 0x80, 0x40}}) {
    Bytes bad = good;
    std::copy(levels.begin(), levels.end(), bad.begin());
    EXPECT_THAT(codec->decode(bad, out),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("out of range or order")));
  }
}

TEST(ExponentialCodecTest, RefusesOtherBits) {
  for (const int bits : {1, 5, 8, 0}) {
    EXPECT_THAT(make_codec(exponential(bits), flat(10)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: 4, 3, 2")));
  }
}

}  // namespace
}  // namespace laconic::compress
