// The codecs beside quantize and top-k, from the job file to core::CodecSpec.
#include "common/wire/compressor_spec.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "common/core/payload_size.h"
#include "common/core/shared_index_spec.h"
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
  EXPECT_FALSE(rand_k.varies);
  const RoundPrediction perm_k = predicted("perm_k {}", 1000);
  EXPECT_EQ(perm_k.payload_bytes, 12 + 4 * 334);
  EXPECT_TRUE(perm_k.varies);
  EXPECT_FALSE(predicted("perm_k {}", 999).varies);
}

TEST(ChunkedTopKSpecTest, HasTheShapeOfSparseLoCoByDefault) {
  const core::CodecSpec codec = spec_of("chunked_top_k {}").codec;
  EXPECT_EQ(codec.kind, core::CodecKind::kChunkedTopK);
  EXPECT_EQ(codec.per_chunk, 64);
  EXPECT_EQ(codec.chunk, 4096);
  EXPECT_EQ(codec.bits, 2);
  EXPECT_TRUE(spec_of("chunked_top_k {}").error_feedback);
  // 8 position bits and 2 value bits for 64 elements, and two scales.
  EXPECT_EQ(predicted("chunked_top_k {}", 4096).payload_bytes, 64 + 16 + 4);
  EXPECT_FALSE(predicted("chunked_top_k {}", 4096).varies);
}

TEST(ChunkedTopKSpecTest, RefusesWrongChunksCountsAndBits) {
  EXPECT_EQ(complaints("chunked_top_k {}"), "");
  EXPECT_EQ(complaints("chunked_top_k {chunk: 100}"),
            "chunked_top_k.chunk is 100; allowed: a power of two in 64..65536\n");
  EXPECT_EQ(complaints("chunked_top_k {chunk: 64 value_bits: 3}"),
            "chunked_top_k.kept is 64; allowed: 1..16\n"
            "chunked_top_k.value_bits is 3; allowed: 32, 8, 4, 2 or 1\n");
}

TEST(RandomRoundingSpecTest, NeedsNoErrorFeedbackAndMayHaveIt) {
  const core::ExchangeSpec natural = spec_of("natural {}");
  EXPECT_EQ(natural.codec.kind, core::CodecKind::kNatural);
  EXPECT_FALSE(natural.error_feedback);
  EXPECT_EQ(predicted("natural {}", 1000).payload_bytes, 1125);
  const core::ExchangeSpec quantize = spec_of("quantize {bits: 4 stochastic: true}");
  EXPECT_TRUE(quantize.codec.stochastic);
  EXPECT_FALSE(quantize.error_feedback);
  EXPECT_TRUE(spec_of("natural {} error_feedback: true").error_feedback);
  EXPECT_EQ(complaints("natural {} error_feedback: true"), "");
}

TEST(RandomRoundingSpecTest, RefusesStochasticRoundingInFewerThanFourBits) {
  EXPECT_EQ(complaints("quantize {bits: 2 stochastic: true}"),
            "quantize.stochastic is true with 2 bits; allowed: true with 8 or 4 bits\n");
}

TEST(ExponentialSpecTest, TakesFourThreeOrTwoBits) {
  const core::CodecSpec codec = spec_of("quantize {bits: 3 exponential {}}").codec;
  EXPECT_EQ(codec.kind, core::CodecKind::kExponential);
  EXPECT_EQ(codec.bits, 3);
  EXPECT_TRUE(spec_of("quantize {bits: 3 exponential {}}").error_feedback);
  EXPECT_EQ(predicted("quantize {bits: 3 exponential {}}", 1000).payload_bytes, 4 * 2 + 375);
  EXPECT_EQ(complaints("quantize {bits: 3 exponential {}}"), "");
  EXPECT_EQ(complaints("quantize {bits: 8 exponential {}}"),
            "quantize.bits is 8; allowed: 4, 3 or 2 with exponential\n");
  EXPECT_EQ(complaints("quantize {bits: 4 exponential {} stochastic: true}"),
            "quantize.stochastic is true with exponential; allowed: true with block or rows\n");
}

TEST(ExponentialSpecTest, IsAValueCodeOfTopK) {
  const core::CodecSpec codec =
      spec_of("top_k {density: 0.1 value_bits: 3 exponential: true}").codec;
  EXPECT_EQ(codec.kind, core::CodecKind::kTopK);
  EXPECT_EQ(codec.bits, 3);
  EXPECT_TRUE(codec.exponential);
  EXPECT_EQ(spec_of("top_k {density: 0.1 exponential: true}").codec.bits, 4);
  EXPECT_FALSE(spec_of("top_k {density: 0.1}").codec.exponential);
  // 100 values: 8 levels of 2 bytes in place of 2 scales.
  EXPECT_EQ(predicted("top_k {density: 0.1 exponential: true}", 1000).payload_bytes,
            predicted("top_k {density: 0.1}", 1000).payload_bytes + 12);
  EXPECT_EQ(complaints("top_k {density: 0.1 value_bits: 2 exponential: true}"), "");
  EXPECT_EQ(complaints("top_k {density: 0.1 value_bits: 8 exponential: true}"),
            "top_k.value_bits is 8 with exponential; allowed: 4, 3 or 2\n");
  EXPECT_EQ(complaints("top_k {density: 0.1 value_bits: 3}"),
            "top_k.value_bits is 3; allowed: 32, 8, 4, 2 or 1\n");
}

TEST(LowRankSpecTest, SendsTwoThinMatricesForOne) {
  const core::CodecSpec codec = spec_of("low_rank {rank: 4}").codec;
  EXPECT_EQ(codec.kind, core::CodecKind::kLowRank);
  EXPECT_EQ(codec.factors, 4);
  EXPECT_TRUE(spec_of("low_rank {rank: 4}").error_feedback);
  const core::Layout layout = {.tensors = {{"w", 100, 50}, {"b", 1, 100}, {"small", 4, 5}}};
  EXPECT_EQ(predict_round(job_with("low_rank {rank: 4}"), layout).payload_bytes,
            4 * (4 * (100 + 50) + 100 + 20));
  EXPECT_EQ(complaints("low_rank {rank: 4}"), "");
  EXPECT_EQ(complaints("low_rank {rank: 0}"), "low_rank.rank is 0; allowed: 1..256\n");
  EXPECT_NE(complaints("low_rank {}"), "");
}

TEST(FeedbackSpecTest, Ef21TurnsErrorFeedbackOnAndTakesAllGather) {
  const core::ExchangeSpec unset = spec_of("top_k {density: 0.1}");
  EXPECT_EQ(unset.feedback, core::FeedbackForm::kResidual);
  EXPECT_EQ(unset.schedule, core::Schedule::kAuto);
  EXPECT_FALSE(unset.half_residuals);
  for (const std::string codec : {"top_k {density: 0.1}", "natural {}", "quantize {bits: 1}"}) {
    EXPECT_EQ(complaints(codec + " feedback: EF21"), "");
    const core::ExchangeSpec spec = spec_of(codec + " feedback: EF21");
    EXPECT_TRUE(spec.error_feedback);
    EXPECT_EQ(spec.feedback, core::FeedbackForm::kEf21);
    EXPECT_EQ(spec.schedule, core::Schedule::kAllGather);
    EXPECT_EQ(spec.residual_decay, 1);
  }
  v1::TrainJob local = job_with("quantize {bits: 1} feedback: EF21");
  local.mutable_spec()->mutable_exchange()->mutable_local()->set_inner_steps(2);
  EXPECT_EQ(exchange_spec(local).residual_decay, 1);
  EXPECT_EQ(spec_of("natural {} feedback: ERROR_FEEDBACK").error_feedback, true);
}

TEST(FeedbackSpecTest, RefusesFormsThatMeanNothing) {
  EXPECT_EQ(complaints("quantize {bits: 1} feedback: EF21 error_feedback: false"),
            "feedback is EF21 with error_feedback false; allowed: error_feedback true or unset\n");
  EXPECT_EQ(complaints("none {} feedback: EF21"),
            "feedback is EF21 with a codec that loses nothing or is scaled; allowed: a lossy codec "
            "with scaled: false\n");
  EXPECT_EQ(complaints("perm_k {scaled: true} feedback: EF21"),
            "feedback is EF21 with a codec that loses nothing or is scaled; allowed: a lossy codec "
            "with scaled: false\n");
  EXPECT_EQ(complaints("quantize {bits: 1} feedback: EF21 residual_decay: 0.9"),
            "residual_decay is 0.9 with feedback EF21, which keeps no residual; allowed: 1 or "
            "unset\n");
  EXPECT_EQ(complaints("quantize {bits: 1} feedback: FEEDBACK_UNSPECIFIED"),
            "feedback is 0; allowed: ERROR_FEEDBACK or EF21\n");
}

TEST(FeedbackSpecTest, HalfResidualsNeedResiduals) {
  EXPECT_EQ(complaints("quantize {bits: 1} residual_bits: 16"), "");
  EXPECT_TRUE(spec_of("quantize {bits: 1} residual_bits: 16").half_residuals);
  EXPECT_FALSE(spec_of("quantize {bits: 1} residual_bits: 32").half_residuals);
  EXPECT_EQ(complaints("quantize {bits: 1} residual_bits: 8"),
            "residual_bits is 8; allowed: 32 or 16\n");
  EXPECT_EQ(complaints("natural {} residual_bits: 16"),
            "residual_bits is 16 without error feedback; allowed: 16 with error feedback in the "
            "form ERROR_FEEDBACK\n");
  EXPECT_EQ(complaints("quantize {bits: 1} feedback: EF21 residual_bits: 16"),
            "residual_bits is 16 with feedback EF21; allowed: 16 with error feedback in the form "
            "ERROR_FEEDBACK\n");
}

TEST(SharedIndexJobTest, HasALeaderAndFloatsUnlessTheJobSaysOtherwise) {
  const core::ExchangeSpec unset = spec_of("shared_index {density: 0.1}");
  EXPECT_EQ(unset.codec.kind, core::CodecKind::kNone);
  EXPECT_EQ(unset.shared_index, (core::SharedIndexSpec{.density = 0.1}));
  EXPECT_EQ(unset.schedule, core::Schedule::kSharded);
  EXPECT_TRUE(unset.error_feedback);
  const core::ExchangeSpec sketch =
      spec_of("shared_index {density: 0.1 value_bits: 8 agreement: SKETCH block: 128}");
  EXPECT_EQ(
      sketch.shared_index,
      (core::SharedIndexSpec{
          .density = 0.1, .value_bits = 8, .agreement = core::Agreement::kSketch, .block = 128}));
  EXPECT_FALSE(spec_of("top_k {density: 0.1}").shared_index.has_value());
  EXPECT_EQ(complaints("shared_index {density: 0.1}"), "");
  EXPECT_EQ(complaints("shared_index {density: 0.1 agreement: SKETCH}"), "");
  EXPECT_EQ(complaints("shared_index {density: 0.1 by_overlap: true}"), "");
  EXPECT_TRUE(spec_of("shared_index {density: 0.1 by_overlap: true}").shared_index->by_overlap);
  EXPECT_NE(complaints("shared_index {density: 0.1 agreement: SKETCH by_overlap: true}"), "");
  // With its defaults filled in a job is as valid as before.
  v1::Compressor filled = job_with("shared_index {density: 0.1}").spec().exchange().compressor();
  fill_compressor(filled, /*local=*/false);
  Checker checker;
  check_compressor(checker, filled);
  EXPECT_TRUE(checker.take().empty());
}

TEST(SharedIndexJobTest, PredictsTheBytesOfTheLeader) {
  const core::Layout layout = core::flat_layout(100'000);
  const core::SharedIndexSpec spec{.density = 0.01};
  const RoundPrediction round = predict_round(job_with("shared_index {density: 0.01}"), layout);
  EXPECT_EQ(round.schedule, core::Schedule::kSharded);
  EXPECT_EQ(round.sent_bytes,
            core::shared_index_sent_bytes(spec, core::Schedule::kSharded, layout, 3));
  EXPECT_EQ(round.payload_bytes, core::shared_index_payload_bytes(spec, layout));
  EXPECT_TRUE(round.varies);
  EXPECT_FALSE(
      predict_round(job_with("shared_index {density: 0.01 agreement: SKETCH}"), layout).varies);
}

TEST(SharedIndexJobTest, RefusesWhatIsOutOfRange) {
  EXPECT_NE(complaints("shared_index {}"), "");
  EXPECT_NE(complaints("shared_index {density: 0.6}"), "");
  EXPECT_EQ(complaints("shared_index {density: 0.1 value_bits: 2}"),
            "shared_index.value_bits is 2; allowed: 32, 8 or 4\n");
  EXPECT_EQ(complaints("shared_index {density: 0.1 agreement: AGREEMENT_UNSPECIFIED}"),
            "shared_index.agreement is 0; allowed: LEADER or SKETCH\n");
  EXPECT_EQ(complaints("shared_index {density: 0.1 block: 64}"),
            "shared_index.block is set without agreement SKETCH; allowed: with it only\n");
  EXPECT_EQ(complaints("shared_index {density: 0.1 agreement: SKETCH block: 100}"),
            "shared_index.block is 100; allowed: a power of two in 16..65536\n");
  EXPECT_EQ(complaints("shared_index {density: 0.1} residual_bits: 16"),
            "residual_bits is 16 with shared_index; allowed: 32\n");
  EXPECT_EQ(complaints("shared_index {density: 0.1} feedback: EF21"),
            "feedback is EF21 with shared_index; allowed: ERROR_FEEDBACK\n");
  EXPECT_NE(complaints("shared_index {density: 0.1} entropy: true"), "");
}

TEST(SharedIndexJobTest, TakesTheSchedulesUnderWhichValuesAddUp) {
  const auto schedule_complaint = [](const std::string& compressor, v1::ExchangeSchedule asked) {
    v1::TrainJob job = job_with(compressor);
    job.mutable_spec()->mutable_exchange()->set_schedule(asked);
    for (const Violation& violation : check_job(job)) {
      if (violation.path == "spec.exchange.schedule") {
        return violation.description;
      }
    }
    return std::string();
  };
  const std::string floats = "shared_index {density: 0.1}";
  for (const v1::ExchangeSchedule good : {v1::AUTO, v1::SHARDED, v1::RING}) {
    EXPECT_EQ(schedule_complaint(floats, good), "");
  }
  EXPECT_EQ(schedule_complaint(floats, v1::STAR),
            "is STAR with shared_index; allowed: AUTO, SHARDED, or RING with 32 value_bits and "
            "without by_overlap");
  EXPECT_EQ(schedule_complaint("shared_index {density: 0.1 value_bits: 8}", v1::RING),
            "is RING with shared_index; allowed: AUTO, SHARDED, or RING with 32 value_bits and "
            "without by_overlap");
  EXPECT_NE(schedule_complaint("shared_index {density: 0.1 by_overlap: true}", v1::RING), "");
  EXPECT_EQ(schedule_complaint("shared_index {density: 0.1 by_overlap: true}", v1::AUTO), "");
}

TEST(EntropySpecTest, AddsAByteToTheLargestPayload) {
  for (const std::string codec :
       {"quantize {bits: 4}", "natural {}", "top_k {density: 0.1}", "chunked_top_k {value_bits: 8}",
        "quantize {bits: 2 exponential {}}"}) {
    EXPECT_TRUE(spec_of(codec + " entropy: true").codec.entropy);
    EXPECT_EQ(complaints(codec + " entropy: true"), "");
    const RoundPrediction with = predicted(codec + " entropy: true", 1000);
    EXPECT_TRUE(with.varies);
    EXPECT_EQ(with.payload_bytes, 1 + predicted(codec, 1000).payload_bytes);
  }
}

TEST(EntropySpecTest, IsRefusedWhereThereIsNothingToGain) {
  for (const std::string codec : {"quantize {bits: 1}", "rand_k {density: 0.1}", "perm_k {}",
                                  "chunked_top_k {}", "low_rank {rank: 1}"}) {
    EXPECT_NE(complaints(codec + " entropy: true").find("entropy is true with a codec that has no"),
              std::string::npos)
        << codec;
  }
}

TEST(AutoSpecTest, OffersFourCodecsWithinFivePercentByDefault) {
  const core::ExchangeSpec spec = spec_of("auto {}");
  EXPECT_EQ(spec.codec.kind, core::CodecKind::kNone);
  EXPECT_TRUE(spec.error_feedback);
  EXPECT_EQ(spec.error_budget, 0.05);
  ASSERT_EQ(spec.candidates.size(), 4U);
  EXPECT_EQ(spec.candidates[0], (core::CodecSpec{.world_size = 3}));
  EXPECT_EQ(spec.candidates[1],
            (core::CodecSpec{.kind = core::CodecKind::kQuantize, .bits = 8, .world_size = 3}));
  EXPECT_EQ(spec.candidates[2],
            (core::CodecSpec{.kind = core::CodecKind::kQuantize, .bits = 4, .world_size = 3}));
  EXPECT_EQ(spec.candidates[3],
            (core::CodecSpec{
                .kind = core::CodecKind::kTopK, .bits = 4, .density = 0.01, .world_size = 3}));
  EXPECT_EQ(complaints("auto {}"), "");
  EXPECT_TRUE(spec_of("none {}").candidates.empty());
}

TEST(AutoSpecTest, TakesWhatTheJobNames) {
  const core::ExchangeSpec spec = spec_of(
      "auto {codecs: [TOP_K, FLOAT32] density: 0.001 error_budget: 2} error_feedback: false");
  ASSERT_EQ(spec.candidates.size(), 2U);
  EXPECT_EQ(spec.candidates[0].density, 0.001);
  EXPECT_EQ(spec.candidates[1].kind, core::CodecKind::kNone);
  EXPECT_EQ(spec.error_budget, 2);
  EXPECT_FALSE(spec.error_feedback);
}

TEST(AutoSpecTest, RefusesWhatIsOutsideItsRanges) {
  EXPECT_EQ(complaints("auto {error_budget: 0}"),
            "auto.error_budget is 0; allowed: greater than 0, at most 2\n");
  EXPECT_EQ(complaints("auto {error_budget: 2.5}"),
            "auto.error_budget is 2.5; allowed: greater than 0, at most 2\n");
  EXPECT_EQ(complaints("auto {density: 0.6}"),
            "auto.density is 0.6; allowed: greater than 0, at most 0.5\n");
  EXPECT_EQ(complaints("auto {codecs: [INT8, PLANNED_CODEC_UNSPECIFIED]}"),
            "auto.codecs[1] is 0; allowed: FLOAT32, INT8, INT4 or TOP_K\n");
  EXPECT_NE(complaints("auto {} entropy: true"), "");
  EXPECT_NE(complaints("auto {} feedback: EF21"), "");
}

}  // namespace
}  // namespace laconic::wire
