// The codecs beside quantize and top-k, from the job file to core::CodecSpec.
#include "common/wire/compressor_spec.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "common/core/payload_size.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {
namespace {

v1::TrainJob job_with(const std::string& compressor) {
  v1::TrainJob job;
  job.mutable_spec()->mutable_workers()->set_count(3);
  job.mutable_spec()->mutable_train()->set_steps(10);
  job.mutable_spec()->mutable_exchange()->mutable_dense();
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      compressor, job.mutable_spec()->mutable_exchange()->mutable_compressor()))
      << compressor;
  return job;
}

core::ExchangeSpec spec_of(const std::string& compressor) {
  return exchange_spec(job_with(compressor));
}

// What check_compressor() says, a line each.
std::string complaints(const std::string& compressor) {
  Checker checker;
  check_compressor(checker, job_with(compressor).spec().exchange().compressor());
  std::string text;
  for (const Violation& violation : checker.take()) {
    text += violation.path.substr(std::string("spec.exchange.compressor.").size()) + " " +
            violation.description + "\n";
  }
  return text;
}

RoundPrediction predicted(const std::string& compressor, int64_t elements) {
  return predict_round(job_with(compressor), {.tensors = {{"w", 1, elements}}});
}

TEST(RandomCodecSpecTest, ScalesExactlyWithoutErrorFeedback) {
  for (const std::string codec : {"rand_k {density: 0.1 ", "perm_k {"}) {
    const core::ExchangeSpec plain = spec_of(codec + "}");
    EXPECT_TRUE(plain.error_feedback);
    EXPECT_FALSE(plain.codec.scaled);
    EXPECT_EQ(plain.codec.world_size, 3);
    const core::ExchangeSpec without = spec_of(codec + "} error_feedback: false");
    EXPECT_TRUE(without.codec.scaled);
    const core::ExchangeSpec scaled = spec_of(codec + "scaled: true}");
    EXPECT_TRUE(scaled.codec.scaled);
    EXPECT_FALSE(scaled.error_feedback);
    EXPECT_EQ(complaints(codec + "}"), "");
    EXPECT_EQ(complaints(codec + "scaled: true} error_feedback: true"),
              "error_feedback is true with scaled values, on which it diverges; allowed: true with "
              "scaled: false\n");
  }
}

TEST(RandomCodecSpecTest, RefusesDensitiesOutsideZeroToHalf) {
  EXPECT_EQ(complaints("rand_k {density: 0.6}"),
            "rand_k.density is 0.6; allowed: greater than 0, at most 0.5\n");
  EXPECT_NE(complaints("rand_k {}"), "");
}

TEST(RandomCodecSpecTest, PredictsTheBytesOfARound) {
  const RoundPrediction rand_k = predicted("rand_k {density: 0.1}", 1000);
  EXPECT_EQ(rand_k.payload_bytes, 8 + 4 * 100);
  EXPECT_EQ(rand_k.sent_bytes, 2 * (rand_k.payload_bytes + 64));
  EXPECT_FALSE(rand_k.upper_bound);
  const RoundPrediction perm_k = predicted("perm_k {}", 1000);
  EXPECT_EQ(perm_k.payload_bytes, 12 + 4 * 334);
  EXPECT_TRUE(perm_k.upper_bound);
  EXPECT_FALSE(predicted("perm_k {}", 999).upper_bound);
}

}  // namespace
}  // namespace laconic::wire
