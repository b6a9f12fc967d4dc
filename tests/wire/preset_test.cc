#include "common/wire/preset.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A job that names only what is trained.
v1::TrainJob job_with(const std::string& exchange_and_train) {
  v1::TrainJob job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    api_version: "laconic.v1" kind: "TrainJob" metadata { name: "preset" }
    spec {
      workers { count: 4 }
      model { mlp {} }
      data { idx { train_images: "/a" train_labels: "/b" } shared {} }
      train { steps: 600 }
    })",
                                                            &job));
  EXPECT_TRUE(
      google::protobuf::TextFormat::MergeFromString(exchange_and_train, job.mutable_spec()));
  return job;
}

std::string violations(const v1::TrainJob& job) {
  std::string text;
  for (const Violation& violation : check_job(job)) {
    text += violation.path + " " + violation.description + "\n";
  }
  return text;
}

TEST(PresetTest, EachMakesAWholeJob) {
  const auto* presets = v1::Preset_descriptor();
  for (int i = 1; i < presets->value_count(); ++i) {
    const v1::TrainJob job = job_with("preset: " + presets->value(i)->name());
    EXPECT_EQ(violations(job), "") << presets->value(i)->name();
    EXPECT_TRUE(with_defaults(job).spec().train().has_optimizer());
  }
}

TEST(PresetTest, PublishedRecipesAreFilledIn) {
  const v1::TrainJob diloco = with_defaults(job_with("preset: DILOCO"));
  EXPECT_EQ(diloco.spec().exchange().local().inner_steps(), 500);
  EXPECT_EQ(diloco.spec().exchange().local().outer_momentum(), 0.9);
  EXPECT_EQ(diloco.spec().train().optimizer().adamw().learning_rate(), 4e-4);
  const core::ExchangeSpec sparse = exchange_spec(job_with("preset: SPARSELOCO"));
  EXPECT_EQ(sparse.codec.kind, core::CodecKind::kChunkedTopK);
  EXPECT_EQ(sparse.codec.per_chunk, 64);
  EXPECT_EQ(sparse.residual_decay, 0.95);
  EXPECT_EQ(sparse.outer_momentum, 0);
  const core::ExchangeSpec streaming = exchange_spec(job_with("preset: STREAMING_DILOCO_FP4"));
  EXPECT_EQ(streaming.fragments.count, 4);
  EXPECT_EQ(streaming.fragments.delay_steps, 1);
  EXPECT_FALSE(streaming.error_feedback);
}

TEST(PresetTest, OurOwnTakesItsRoundsFromTheSteps) {
  const core::ExchangeSpec spec = exchange_spec(job_with("preset: LACONIC"));
  EXPECT_EQ(spec.rounds.rounds, 600 / 64);
  EXPECT_EQ(spec.codec.bits, 1);
  EXPECT_EQ(spec.residual_decay, 0.5);
  EXPECT_EQ(spec.schedule, core::Schedule::kSharded);
  const core::ExchangeSpec brief = exchange_spec(job_with("preset: LACONIC train { steps: 3 }"));
  EXPECT_EQ(brief.rounds.rounds, 1);
}

TEST(PresetTest, OurOwnCountsTheRoundsOfFragmentsBySteps) {
  for (const char* streaming : {"fragments: 4", "delay_steps: 2"}) {
    const v1::TrainJob job =
        job_with(absl::StrCat("preset: LACONIC exchange { local { ", streaming, " } }"));
    EXPECT_EQ(violations(job), "") << streaming;
    EXPECT_EQ(exchange_spec(job).rounds.inner_steps, 64) << streaming;
    EXPECT_EQ(exchange_spec(job).codec.bits, 1) << streaming;
    EXPECT_EQ(with_preset(with_preset(job)).SerializeAsString(),
              with_preset(job).SerializeAsString())
        << streaming;
  }
}

TEST(PresetTest, WhatTheJobSetsStays) {
  const core::ExchangeSpec steps = exchange_spec(
      job_with("preset: MULOCO exchange { local { inner_steps: 12 outer_rate: 1 } }"));
  EXPECT_EQ(steps.rounds.inner_steps, 12);
  EXPECT_EQ(steps.outer_rate, 1);
  EXPECT_EQ(steps.outer_momentum, 0.6);
  const core::ExchangeSpec codec =
      exchange_spec(job_with("preset: MULOCO exchange { compressor { top_k { density: 0.1 } } }"));
  EXPECT_EQ(codec.codec.kind, core::CodecKind::kTopK);
  const v1::TrainJob sgd =
      with_defaults(job_with("preset: MULOCO train { optimizer { sgd { learning_rate: 0.5 } } }"));
  EXPECT_EQ(sgd.spec().train().optimizer().sgd().learning_rate(), 0.5);
}

TEST(PresetTest, RoundsTakeThePlaceOfThePresetsInnerSteps) {
  const v1::TrainJob job = job_with("preset: MULOCO exchange { local { rounds: 10 } }");
  EXPECT_EQ(violations(job), "");
  EXPECT_EQ(exchange_spec(job).rounds.rounds, 10);
}

TEST(PresetTest, TwiceIsAsOnce) {
  const v1::TrainJob once = with_preset(job_with("preset: SPARSELOCO"));
  EXPECT_EQ(with_preset(once).SerializeAsString(), once.SerializeAsString());
}

TEST(PresetTest, UnknownOneIsRefusedWithTheKnownOnes) {
  v1::TrainJob job = job_with("preset: DILOCO");
  job.mutable_spec()->set_preset(static_cast<v1::Preset>(77));
  EXPECT_THAT(violations(job), HasSubstr("spec.preset is 77; allowed: LACONIC, DILOCO, "));
}

TEST(RoundsTest, AreCheckedAgainstTheStepsAndInnerSteps) {
  const auto local = [](const std::string& fields) {
    return violations(job_with(
        "train { optimizer { sgd { learning_rate: 1 } } } exchange { local { " + fields + " } }"));
  };
  EXPECT_EQ(local("rounds: 600 round_growth: 2"), "");
  EXPECT_EQ(
      local("rounds: 601"),
      "spec.exchange.local.rounds is 601 with 600 steps; allowed: at most spec.train.steps\n");
  EXPECT_EQ(local("rounds: 0"), "spec.exchange.local.rounds is 0; allowed: 1..1000000\n");
  EXPECT_EQ(local("rounds: 3 inner_steps: 4"),
            "spec.exchange.local.rounds is set beside inner_steps; allowed: one of the two\n");
  EXPECT_THAT(local(""), HasSubstr("inner_steps is missing"));
  EXPECT_EQ(local("inner_steps: 4 round_growth: 2"),
            "spec.exchange.local.round_growth is set without rounds; allowed: only with rounds\n");
  EXPECT_THAT(local("rounds: 3 round_growth: 9"), HasSubstr("round_growth is 9; allowed: 0.25..4"));
}

TEST(FragmentsFieldTest, IsCheckedAgainstDelayAndRounds) {
  const auto local = [](const std::string& fields) {
    return violations(job_with(
        "train { optimizer { sgd { learning_rate: 1 } } } exchange { local { " + fields + " } }"));
  };
  EXPECT_EQ(local("inner_steps: 12 fragments: 3 delay_steps: 4 keep: 0.5"), "");
  EXPECT_EQ(local("inner_steps: 12 fragments: 3 delay_steps: 5"),
            "spec.exchange.local.delay_steps is 5; allowed: 0..4\n");
  EXPECT_THAT(local("inner_steps: 12 fragments: 0"), HasSubstr("fragments is 0; allowed: 1..1024"));
  EXPECT_THAT(local("inner_steps: 12 keep: 2"), HasSubstr("keep is 2; allowed: 0..1"));
  EXPECT_EQ(local("rounds: 12 fragments: 3"),
            "spec.exchange.local.fragments is set with rounds; allowed: with inner_steps\n");
  EXPECT_EQ(exchange_spec(job_with("exchange { local { inner_steps: 8 delay_steps: 1 } }"))
                .fragments.keep,
            0.5);
}

TEST(SimilarityFieldsTest, AreCheckedAgainstWhatTheyNeed) {
  const auto exchange = [](const std::string& fields) {
    return violations(
        job_with("train { optimizer { sgd { learning_rate: 1 } } } exchange { " + fields + " }"));
  };
  EXPECT_EQ(exchange("local { inner_steps: 4 inner_steps_max: 4 shift: 1 }"), "");
  EXPECT_EQ(exchange("local { inner_steps: 4 inner_steps_max: 3 }"),
            "spec.exchange.local.inner_steps_max is 3; allowed: 4..1000000\n");
  EXPECT_EQ(exchange("local { rounds: 4 inner_steps_max: 9 }"),
            "spec.exchange.local.inner_steps_max is set without inner_steps; allowed: inner_steps "
            "beside it\n");
  EXPECT_EQ(exchange("local { inner_steps: 8 inner_steps_max: 9 fragments: 2 }"),
            "spec.exchange.local.inner_steps_max is set with fragments or delay_steps; allowed: "
            "without them\n");
  EXPECT_THAT(exchange("local { inner_steps: 8 shift: 2 }"),
              HasSubstr("shift is 2; allowed: 0..1"));
  EXPECT_THAT(exchange("local { inner_steps: 8 shift: 1 delay_steps: 1 }"),
              HasSubstr("shift is set with fragments or delay_steps"));
  EXPECT_EQ(exchange("dense {} similarity { every_steps: 7 samples: 4 }"), "");
  EXPECT_THAT(exchange("dense {} similarity { every_steps: 0 }"),
              HasSubstr("similarity.every_steps is 0; allowed: 1..1000000000"));
  EXPECT_THAT(exchange("dense {} similarity { samples: 3 }"),
              HasSubstr("similarity.samples is 3; allowed: 4..1000000"));
  EXPECT_THAT(exchange("local { inner_steps: 8 fragments: 2 } similarity {}"),
              HasSubstr("similarity is set with fragments or delay_steps"));
  EXPECT_THAT(exchange("convex { algorithm: AEG l2: 1 } similarity {}"),
              HasSubstr("similarity is set with convex; allowed: convex.similarity"));
}

TEST(SimilarityFieldsTest, AreFilledInWhereSomethingNeedsThem) {
  const auto filled = [](const std::string& exchange) {
    return with_defaults(job_with("train { batch_size: 8 } exchange { " + exchange + " }"))
        .spec()
        .exchange();
  };
  EXPECT_FALSE(filled("local { inner_steps: 4 }").has_similarity());
  for (const char* needs :
       {"local { inner_steps: 4 inner_steps_max: 9 }", "auto {}", "dense {} similarity {}"}) {
    SCOPED_TRACE(needs);
    EXPECT_EQ(filled(needs).similarity().every_steps(), 60);
    EXPECT_EQ(filled(needs).similarity().samples(), 32);
  }
  EXPECT_EQ(filled("dense {} similarity { every_steps: 5 samples: 6 }").similarity().samples(), 6);
}

TEST(AutoMethodTest, LeavesEverythingButItsLimitsUnset) {
  const auto exchange = [](const std::string& fields) {
    return violations(
        job_with("train { optimizer { sgd { learning_rate: 1 } } } exchange { " + fields + " }"));
  };
  EXPECT_EQ(exchange("auto {}"), "");
  EXPECT_EQ(exchange("auto { wait: 0.5 bytes: 1 } schedule: AUTO"), "");
  EXPECT_THAT(exchange("auto { wait: 0 }"), HasSubstr("auto.wait is 0; allowed: 0.001..0.9"));
  EXPECT_THAT(exchange("auto { bytes: 0 }"), HasSubstr("auto.bytes is 0; allowed: 1.."));
  EXPECT_THAT(exchange("auto {} compressor { natural {} }"),
              HasSubstr("compressor is set with auto, which chooses it; allowed: unset"));
  EXPECT_THAT(exchange("auto {} schedule: RING"), HasSubstr("schedule is set with auto"));
}

TEST(AutoMethodTest, TakesNothingButTheOptimizerFromAPreset) {
  const v1::TrainJob job = with_defaults(job_with("preset: LACONIC exchange { auto {} }"));
  EXPECT_EQ(violations(job_with("preset: LACONIC exchange { auto {} }")), "");
  EXPECT_EQ(violations(job), "") << "defaults filled in";
  EXPECT_TRUE(job.spec().train().optimizer().has_muon());
  EXPECT_TRUE(job.spec().exchange().has_auto_());
  const core::ExchangeSpec spec = exchange_spec(job);
  ASSERT_TRUE(spec.automatic.has_value());
  EXPECT_EQ(spec.automatic->wait, 0.1);
  EXPECT_EQ(spec.automatic->bytes, 0);
  EXPECT_EQ(spec.rounds.steps, 600);
  ASSERT_EQ(spec.candidates.size(), 5U);
  EXPECT_FALSE(spec.candidates[0].lossy());
  EXPECT_TRUE(spec.candidates[4].rows);
}

}  // namespace
}  // namespace laconic::wire
