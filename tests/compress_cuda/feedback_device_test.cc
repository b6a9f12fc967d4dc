// Error feedback on the device beside that of the scalar code, with rounds that are aborted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/compress/cuda/device_error_feedback.h"
#include "common/compress/error_feedback.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "tests/compress/test_vectors.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::compress::cuda {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

class DeviceErrorFeedbackTest : public DeviceTest {
 protected:
  void make(const core::CodecSpec& spec, int64_t elements, bool enabled) {
    auto scalar = make_codec(spec, rows_of_seven(elements));
    ASSERT_OK(scalar.status());
    scalar_codec_ = *std::move(scalar);
    auto device = make_device_codec(spec, rows_of_seven(elements), *machine_);
    ASSERT_OK(device.status());
    codec_ = *std::move(device);
    auto feedback = DeviceErrorFeedback::make(*codec_, *machine_, enabled, 0.95);
    ASSERT_OK(feedback.status());
    feedback_ = *std::move(feedback);
    payload_ = scratch(static_cast<size_t>(codec_->capacity_bytes()));
    payload_bytes_ = scratch(sizeof(uint64_t));
  }

  absl::Status encode(const DeviceMemory& v) {
    return feedback_->encode(v.as<float>(), payload_.as<uint8_t>(), payload_bytes_.as<uint64_t>(),
                             nullptr);
  }

  Bytes payload() {
    const uint64_t bytes = codec_->fixed_size() ? static_cast<uint64_t>(codec_->payload_bytes_max())
                                                : download<uint64_t>(payload_bytes_, 1)[0];
    return download<uint8_t>(payload_, bytes);
  }

  Floats residual() {
    Floats values(static_cast<size_t>(codec_->elements()));
    EXPECT_OK(machine_->copy_to_host(values.data(), feedback_->residual(),
                                     values.size() * sizeof(float), nullptr));
    return values;
  }

  std::unique_ptr<Codec> scalar_codec_;
  std::unique_ptr<DeviceCodec> codec_;
  std::unique_ptr<DeviceErrorFeedback> feedback_;
  DeviceMemory payload_;
  DeviceMemory payload_bytes_;
};
LACONIC_ON_EACH_MACHINE(DeviceErrorFeedbackTest);

TEST_P(DeviceErrorFeedbackTest, AbortedRoundsLeaveNoTraceAndResidualsAreThoseOfTheScalarCode) {
  core::Random random(3);
  for (const core::CodecSpec& spec :
       {quantize_blocks(4, 64), quantize_rows(1), quantize_rows(2), top_k(4, 0.02)}) {
    SCOPED_TRACE(describe(spec));
    // Long enough for top-k to use thresholds again.
    const int64_t elements = spec.kind == core::CodecKind::kTopK ? core::kTopKChunk + 700 : 1501;
    make(spec, elements, /*enabled=*/true);
    ErrorFeedback scalar(*scalar_codec_, /*enabled=*/true, 0.95);
    for (uint64_t round = 0; round < 4; ++round) {
      const Floats v = gauss(round, elements);
      const DeviceMemory v_memory = upload<float>(v);
      ASSERT_OK_AND_ASSIGN(const auto expected, scalar.encode(v));
      for (uint64_t aborts = random.below(2); aborts > 0; --aborts) {
        ASSERT_OK(encode(v_memory));
        feedback_->rollback();
        ASSERT_TRUE(same_bits(residual(), scalar.residual())) << round;
      }
      ASSERT_OK(encode(v_memory));
      const std::span<const uint8_t> bytes = expected->bytes();
      ASSERT_TRUE(payload() == Bytes(bytes.begin(), bytes.end())) << round;
      ASSERT_OK(scalar.commit().status());
      ASSERT_OK(feedback_->commit(nullptr));
      ASSERT_TRUE(same_bits(residual(), scalar.residual())) << round;
    }
    EXPECT_OK(feedback_->check(nullptr));
  }
}

TEST_P(DeviceErrorFeedbackTest, DisabledKeepsNoResidual) {
  make(quantize_rows(1), 100, /*enabled=*/false);
  const DeviceMemory v = upload<float>(gauss(1, 100));
  ASSERT_OK(encode(v));
  ASSERT_OK(feedback_->commit(nullptr));
  EXPECT_EQ(residual(), Floats(100));
}

TEST_P(DeviceErrorFeedbackTest, RefusesASecondEncodeBeforeTheFirstIsClosed) {
  make(quantize_blocks(8, 16), 100, /*enabled=*/true);
  const DeviceMemory v = upload<float>(gauss(1, 100));
  ASSERT_OK(encode(v));
  const Floats zeros(100);
  EXPECT_THAT(encode(v), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
  EXPECT_THAT(feedback_->set_residual(zeros.data(), nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
  feedback_->rollback();
  ASSERT_OK(feedback_->set_residual(zeros.data(), nullptr));
  EXPECT_EQ(residual(), zeros);
}

TEST_P(DeviceErrorFeedbackTest, CheckNamesAnElementThatIsNotFinite) {
  make(quantize_blocks(8, 16), 100, /*enabled=*/true);
  Floats v = gauss(1, 100);
  v[41] = std::numeric_limits<float>::infinity();
  const DeviceMemory bad = upload<float>(v);
  ASSERT_OK(encode(bad));
  EXPECT_THAT(feedback_->check(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 41 ")));
}

}  // namespace
}  // namespace laconic::compress::cuda
