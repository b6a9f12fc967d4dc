#include "common/wire/method_spec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/method_sizes.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {
namespace {

using ::testing::HasSubstr;

v1::TrainJob job_with(const std::string& exchange) {
  v1::TrainJob job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      absl::StrCat(R"pb(api_version: "laconic.v1"
                        kind: "TrainJob"
                        metadata { name: "a" })pb",
                   " spec { workers { count: 4 } model { conv {} } data { idx { train_images: "
                   "'/a' train_labels: '/b' } shared {} } train { steps: 100 optimizer { adamw { "
                   "learning_rate: 0.003 } } } exchange { ",
                   exchange, " } }"),
      &job))
      << exchange;
  return job;
}

std::string violations(const std::string& exchange) {
  std::string text;
  for (const Violation& violation : check_job(job_with(exchange))) {
    absl::StrAppend(&text, violation.path, " ", violation.description, "\n");
  }
  return text;
}

TEST(MethodSpecTest, MethodsWithoutFieldsAreValidAndHaveTheirDefaults) {
  for (const char* exchange :
       {"lazy {}", "lazy {} compressor { quantize { bits: 1 rows {} } }", "power_sgd {}", "demo {}",
        "lazy {} compressor { quantize { bits: 8 } feedback: ERROR_FEEDBACK }",
        "ef21 {} compressor { top_k { density: 0.01 } }", "power_sgd {} schedule: SHARDED",
        "lazy { rule: LAQ } compressor { quantize { bits: 4 } }",
        "demo {} compressor { none {} }"}) {
    EXPECT_EQ(violations(exchange), "") << exchange;
  }
  const core::ExchangeSpec lazy = exchange_spec(job_with("lazy {}"));
  EXPECT_EQ(lazy.method, core::Method::kLazy);
  EXPECT_EQ(lazy.lazy.rule, core::LazyRule::kClag);
  EXPECT_EQ(lazy.lazy.threshold, 4);
  EXPECT_EQ(lazy.lazy.age_max, 10);
  EXPECT_EQ(lazy.lazy.inner_steps, 0);
  EXPECT_FALSE(lazy.error_feedback);
  EXPECT_EQ(lazy.schedule, core::Schedule::kAllGather);
  EXPECT_EQ(lazy.lazy.silence, core::Silence::kReuse);
  EXPECT_EQ(exchange_spec(job_with("lazy { rule: LAQ }")).lazy.threshold, 0.8);
  const core::ExchangeSpec carrying = exchange_spec(
      job_with("lazy {} compressor { quantize { bits: 8 } feedback: ERROR_FEEDBACK }"));
  EXPECT_EQ(carrying.lazy.silence, core::Silence::kCarry);
  EXPECT_EQ(carrying.lazy.threshold, 0.9);
  EXPECT_EQ(carrying.feedback, core::FeedbackForm::kResidual);
  EXPECT_EQ(carrying.schedule, core::Schedule::kAllGather);
  EXPECT_EQ(carrying.residual_decay, 1);
  const core::ExchangeSpec power_sgd = exchange_spec(job_with("power_sgd {}"));
  EXPECT_EQ(power_sgd.method, core::Method::kPowerSgd);
  EXPECT_EQ(power_sgd.power_sgd.rank, 4);
  EXPECT_EQ(power_sgd.power_sgd.dense_steps, 20);
  EXPECT_EQ(power_sgd.schedule, core::Schedule::kSharded);
  const core::ExchangeSpec demo = exchange_spec(job_with("demo {}"));
  EXPECT_EQ(demo.method, core::Method::kDemo);
  EXPECT_EQ(demo.demo.kept, 32);
  EXPECT_EQ(demo.demo.taken, 0.2);
  EXPECT_TRUE(demo.demo.dct);
  EXPECT_TRUE(demo.demo.sign);
  const core::ExchangeSpec ef21 =
      exchange_spec(job_with("ef21 {} compressor { top_k { density: 0.01 } }"));
  EXPECT_EQ(ef21.method, core::Method::kEf21);
  EXPECT_EQ(ef21.ef21_momentum, 0.9);
}

TEST(MethodSpecTest, FieldsReachTheMethod) {
  const core::ExchangeSpec lazy = exchange_spec(
      job_with("lazy { rule: LAQ threshold: 0.5 age_max: 0 momentum: 0.9 inner_steps: 8 "
               "outer_rate: 1 outer_momentum: 0 } compressor { quantize { bits: 8 } }"));
  EXPECT_EQ(lazy.lazy.rule, core::LazyRule::kLaq);
  EXPECT_EQ(lazy.lazy.threshold, 0.5);
  EXPECT_EQ(lazy.lazy.age_max, 0);
  EXPECT_EQ(lazy.lazy.momentum, 0.9);
  EXPECT_EQ(lazy.lazy.inner_steps, 8);
  EXPECT_EQ(lazy.outer_rate, 1);
  EXPECT_EQ(lazy.outer_momentum, 0);
  const core::ExchangeSpec demo = exchange_spec(
      job_with("demo { momentum: 0.99 chunk: 16 kept: 4 basis: IDENTITY taken: 1 sign: false }"));
  EXPECT_EQ(demo.demo.momentum, 0.99);
  EXPECT_EQ(demo.demo.chunk, 16);
  EXPECT_EQ(demo.demo.kept, 4);
  EXPECT_FALSE(demo.demo.dct);
  EXPECT_EQ(demo.demo.taken, 1);
  EXPECT_FALSE(demo.demo.sign);
}

// What receivers hold takes the place of error feedback: the codec must contract.
TEST(MethodSpecTest, HeldFormUsesTheContractiveFormOfACodec) {
  for (const char* method : {"lazy {}", "ef21 {}"}) {
    const core::ExchangeSpec spec =
        exchange_spec(job_with(absl::StrCat(method, " compressor { rand_k { density: 0.1 } }")));
    EXPECT_FALSE(spec.codec.scaled);
    EXPECT_TRUE(spec.error_feedback);
    EXPECT_EQ(spec.feedback, core::FeedbackForm::kEf21);
    EXPECT_EQ(spec.residual_decay, 1);
  }
}

struct Bad {
  const char* exchange;
  const char* text;
};

class BadMethodTest : public ::testing::TestWithParam<Bad> {};

TEST_P(BadMethodTest, IsRefusedWithWhatIsAllowed) {
  EXPECT_THAT(violations(GetParam().exchange), HasSubstr(GetParam().text));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadMethodTest,
    ::testing::Values(
        Bad{"lazy { threshold: -1 }", "exchange.lazy.threshold is -1"},
        Bad{"lazy { threshold: nan }", "exchange.lazy.threshold is nan"},
        Bad{"lazy { threshold: 2e6 }", "exchange.lazy.threshold is 2e+06"},
        Bad{"lazy { age_max: -1 }", "exchange.lazy.age_max is -1; allowed: 0..1000000"},
        Bad{"lazy { momentum: 1 }", "exchange.lazy.momentum is 1"},
        Bad{"lazy { rule: 7 }", "exchange.lazy.rule is 7; allowed: CLAG or LAQ"},
        Bad{"lazy { rule: LAQ } compressor { quantize { bits: 8 } feedback: ERROR_FEEDBACK }",
            "exchange.lazy.rule is LAQ with feedback ERROR_FEEDBACK"},
        Bad{"ef21 {} compressor { quantize { bits: 8 } feedback: ERROR_FEEDBACK }",
            "compressor.feedback is ERROR_FEEDBACK with ef21"},
        Bad{"lazy { inner_steps: 0 }", "exchange.lazy.inner_steps is 0"},
        Bad{"lazy { outer_rate: 1 }", "exchange.lazy.outer_rate is set without inner_steps"},
        Bad{"lazy { inner_steps: 2 outer_momentum: 1 }", "exchange.lazy.outer_momentum is 1"},
        Bad{"lazy { rule: LAQ } compressor { quantize { bits: 1 } }",
            "exchange.lazy.rule is LAQ with a codec"},
        Bad{"lazy { rule: LAQ } compressor { top_k { density: 0.1 } }", "is LAQ with a codec"},
        Bad{"lazy {} schedule: SHARDED", "is SHARDED with lazy; allowed: AUTO or ALL_GATHER"},
        Bad{"lazy {} compressor { auto {} }", "compressor is auto with lazy"},
        Bad{"lazy {} compressor { shared_index { density: 0.1 } }", "is shared_index with lazy"},
        Bad{"lazy {} compressor { quantize { bits: 8 } error_feedback: false }",
            "compressor.error_feedback is false with lazy"},
        Bad{"lazy {} compressor { rand_k { density: 0.1 scaled: true } }",
            "compressor.rand_k.scaled is true with lazy"},
        Bad{"lazy {} compressor { quantize { bits: 8 } residual_decay: 0.9 }",
            "residual_decay is 0.9 with lazy"},
        Bad{"lazy {} compressor { quantize { bits: 8 } residual_bits: 16 }",
            "residual_bits is 16 with lazy"},
        Bad{"ef21 {}", "exchange.compressor is missing"},
        Bad{"ef21 { momentum: 1 } compressor { top_k { density: 0.1 } }", "ef21.momentum is 1"},
        Bad{"ef21 {} compressor { auto {} }", "compressor is auto with ef21"},
        Bad{"power_sgd { rank: 0 }", "power_sgd.rank is 0; allowed: 1..256"},
        Bad{"power_sgd { dense_steps: -1 }", "power_sgd.dense_steps is -1"},
        Bad{"power_sgd {} compressor { quantize { bits: 8 } }",
            "exchange.compressor is set with power_sgd"},
        Bad{"power_sgd {} schedule: RING", "is RING with power_sgd; allowed: AUTO or SHARDED"},
        Bad{"demo { momentum: 1 }", "demo.momentum is 1"},
        Bad{"demo { chunk: 65 }", "demo.chunk is 65; allowed: 4..64"},
        Bad{"demo { chunk: 8 }", "demo.kept is 32; allowed: 1..16"},
        Bad{"demo { kept: 0 }", "demo.kept is 0; allowed: 1..1024"},
        Bad{"demo { basis: 3 }", "demo.basis is 3; allowed: DCT or IDENTITY"},
        Bad{"demo { taken: 0 }", "demo.taken is 0"},
        Bad{"demo {} compressor { top_k { density: 0.1 } }",
            "exchange.compressor is set with demo"},
        Bad{"demo {} schedule: TREE", "is TREE with demo; allowed: AUTO or ALL_GATHER"}));

core::Layout layout() {
  return {{{"weight", 64, 128}, {"bias", 1, 64}}};
}

TEST(MethodSpecTest, PredictionCountsWhatEachMethodSends) {
  RoundPrediction round = predict_round(job_with("power_sgd {}"), layout());
  EXPECT_EQ(round.payload_bytes, 4 * (4 * (64 + 128) + 64));
  EXPECT_EQ(round.schedule, core::Schedule::kSharded);
  // Two all-reduces of a quarter each to three peers, twice.
  EXPECT_NEAR(static_cast<double>(round.sent_bytes), 1.5 * static_cast<double>(round.payload_bytes),
              6 * 64 + 24);
  round = predict_round(job_with("demo {}"), layout());
  EXPECT_EQ(round.payload_bytes, core::demo_payload_bytes_max({}, layout()));
  EXPECT_EQ(round.sent_bytes, 3 * (round.payload_bytes + 64));
  EXPECT_TRUE(round.varies);
  round = predict_round(job_with("lazy {} compressor { quantize { bits: 8 } }"), layout());
  EXPECT_EQ(round.payload_bytes,
            1 + predict_round(job_with("dense {} compressor { quantize { bits: 8 } }"), layout())
                    .payload_bytes);
  EXPECT_TRUE(round.varies);
  EXPECT_EQ(predict_round(job_with("lazy { inner_steps: 8 }"), layout()).rounds, 13);
}

}  // namespace
}  // namespace laconic::wire
