#include "common/wire/convex_check.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {
namespace {

v1::TrainJob job_with(const std::string& exchange, const std::string& train = "",
                      const std::string& model = "linear { loss: LOGISTIC }") {
  v1::TrainJob job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      absl::StrCat(R"pb(api_version: "laconic.v1"
                        kind: "TrainJob"
                        metadata { name: "convex" })pb",
                   " spec { workers { count: 4 } model { ", model,
                   " } data { libsvm { train_file: '/a' } shared {} } train { steps: 90 ", train,
                   " } exchange { ", exchange, " } }"),
      &job))
      << exchange;
  return job;
}

std::string problems(const v1::TrainJob& job) {
  std::string text;
  for (const Violation& violation : check_job(job)) {
    absl::StrAppend(&text, violation.path, " ", violation.description, "\n");
  }
  return text;
}

std::string convex(const std::string& fields) {
  return absl::StrCat("convex { l2: 0.1 ", fields, " }");
}

TEST(ConvexCheckTest, AcceptsEveryAlgorithmWithTheCodecsThatSuitIt) {
  const std::vector<std::string> good = {
      convex("algorithm: OLGA"),
      convex("algorithm: OLGA inner_rounds: 3 gather_bits: 4 downlink_bits: 8 geometric: true") +
          " compressor { quantize { bits: 4 stochastic: true } }",
      convex("algorithm: OLGA similarity: 2 theory: true") +
          " compressor { rand_k { density: 0.1 } }",
      convex("algorithm: OLGA similarity: 2 adapt_similarity: true") +
          " compressor { perm_k {} } schedule: STAR",
      convex("algorithm: EF_OLGA lazy: 3") + " compressor { top_k { density: 0.1 } entropy: true }",
      convex("algorithm: AEG convexity: 0.2 tolerance: 1e-6"),
      convex("algorithm: GD smoothness: 9") + " compressor { none {} }",
      convex("algorithm: AGD step_scale: 0.5"),
      convex("algorithm: DIANA") + " compressor { rand_k { density: 0.1 } }",
      convex("algorithm: MARINA") + " compressor { rand_k { density: 0.1 scaled: true } }",
      convex("algorithm: EF21") + " compressor { chunked_top_k {} }",
      convex("algorithm: LAQ lazy: 0") + " compressor { quantize { bits: 8 } }",
  };
  for (const std::string& exchange : good) {
    const v1::TrainJob job = job_with(exchange);
    EXPECT_EQ(problems(job), "") << exchange;
    EXPECT_EQ(problems(with_defaults(job)), "") << exchange;
  }
}

TEST(ConvexCheckTest, FillsInWhatTheAlgorithmNeeds) {
  const auto filled = [](const std::string& exchange) {
    return with_defaults(job_with(exchange)).spec();
  };
  const v1::TrainJobSpec olga =
      filled(convex("algorithm: OLGA") + " compressor { rand_k { density: 0.1 } }");
  EXPECT_EQ(olga.exchange().convex().convexity(), 0.1);
  EXPECT_TRUE(olga.exchange().convex().adapt_similarity());
  EXPECT_EQ(olga.exchange().convex().step_scale(), 1);
  EXPECT_EQ(olga.exchange().convex().gather_bits(), 32);
  EXPECT_TRUE(olga.exchange().compressor().rand_k().scaled());
  EXPECT_FALSE(olga.train().has_batch_size());
  EXPECT_FALSE(olga.train().has_optimizer());
  EXPECT_EQ(olga.train().eval_every_steps(), 9);
  const v1::TrainJobSpec ef = filled(convex("algorithm: EF_OLGA similarity: 3") +
                                     " compressor { rand_k { density: 0.1 } }");
  EXPECT_FALSE(ef.exchange().convex().adapt_similarity());
  EXPECT_EQ(ef.exchange().convex().step_scale(), 0.25);
  EXPECT_FALSE(ef.exchange().compressor().rand_k().scaled());
  EXPECT_FALSE(ef.exchange().compressor().error_feedback());
  EXPECT_EQ(olga.exchange().convex().anchor(), v1::Convex::RANK_0);
  EXPECT_EQ(filled(convex("algorithm: AEG anchor: MOST_ALIKE")).exchange().convex().anchor(),
            v1::Convex::MOST_ALIKE);
  EXPECT_EQ(filled(convex("algorithm: LAQ")).exchange().convex().lazy(), 0.8);
  EXPECT_FALSE(filled(convex("algorithm: GD")).exchange().convex().has_convexity());
}

TEST(ConvexCheckTest, NamesValuesOutsideTheirRanges) {
  EXPECT_EQ(problems(job_with("convex {}")),
            "spec.exchange.convex.l2 is missing; allowed: 1e-12..1e+06\n"
            "spec.exchange.convex.algorithm is missing; allowed: OLGA, EF_OLGA, AEG, GD, AGD, "
            "DIANA, MARINA, EF21 or LAQ\n");
  EXPECT_EQ(problems(job_with("convex { algorithm: GD l2: 0 smoothness: -1 tolerance: 0 }")),
            "spec.exchange.convex.l2 is 0; allowed: 1e-12..1e+06\n"
            "spec.exchange.convex.smoothness is -1; allowed: a finite number greater than 0\n"
            "spec.exchange.convex.tolerance is 0; allowed: a finite number greater than 0\n");
  EXPECT_EQ(problems(job_with(convex("algorithm: OLGA inner_rounds: 0 gather_bits: 2 "
                                     "downlink_bits: 0 step_scale: 101 convexity: nan"))),
            "spec.exchange.convex.convexity is nan; allowed: a finite number greater than 0\n"
            "spec.exchange.convex.step_scale is 101; allowed: greater than 0, at most 100\n"
            "spec.exchange.convex.inner_rounds is 0; allowed: 1..10000\n"
            "spec.exchange.convex.gather_bits is 2; allowed: 32, 8 or 4\n"
            "spec.exchange.convex.downlink_bits is 0; allowed: 32, 8 or 4\n");
  v1::TrainJob job = job_with(convex("algorithm: OLGA"));
  job.mutable_spec()->mutable_exchange()->mutable_convex()->set_anchor(
      static_cast<v1::Convex::Anchor>(3));
  EXPECT_EQ(problems(job), "spec.exchange.convex.anchor is 3; allowed: RANK_0 or MOST_ALIKE\n");
  EXPECT_EQ(problems(job_with(convex("algorithm: GD anchor: MOST_ALIKE"))),
            "spec.exchange.convex.anchor is set with algorithm GD, which has no use for it; "
            "allowed: with algorithm OLGA, EF_OLGA and AEG\n");
  EXPECT_EQ(problems(job_with(convex("algorithm: OLGA adapt_similarity: false"))),
            "spec.exchange.convex.adapt_similarity is false without similarity; allowed: false "
            "with similarity, or true\n");
  EXPECT_EQ(problems(job_with(convex("algorithm: OLGA theory: true step_scale: 1"))),
            "spec.exchange.convex.step_scale is set with theory, whose constants have no factor; "
            "allowed: one of the two\n");
}

TEST(ConvexCheckTest, RefusesFieldsThatTheAlgorithmHasNoUseFor) {
  const std::pair<std::string, std::string> table[] = {
      {"algorithm: GD convexity: 1", "convexity"},
      {"algorithm: AEG smoothness: 1", "smoothness"},
      {"algorithm: EF21 similarity: 1", "similarity"},
      {"algorithm: AEG similarity: 1 adapt_similarity: true", "adapt_similarity"},
      {"algorithm: AEG step_scale: 1", "step_scale"},
      {"algorithm: AGD theory: true", "theory"},
      {"algorithm: LAQ inner_rounds: 2", "inner_rounds"},
      {"algorithm: GD geometric: true", "geometric"},
      {"algorithm: OLGA lazy: 1", "lazy"},
      {"algorithm: GD gather_bits: 4", "gather_bits"},
      {"algorithm: AEG downlink_bits: 4", "downlink_bits"},
  };
  for (const auto& [fields, name] : table) {
    const std::string text =
        problems(job_with(convex(fields) + (fields.find("EF21") == std::string::npos
                                                ? ""
                                                : " compressor { top_k { density: 0.1 } }")));
    EXPECT_EQ(text.find(absl::StrCat("spec.exchange.convex.", name, " is set with algorithm ")), 0U)
        << text;
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  }
}

TEST(ConvexCheckTest, RefusesCodecsThatTheAlgorithmCannotTake) {
  const std::pair<std::string, std::string> table[] = {
      {"algorithm: AEG } compressor { quantize { bits: 8 } ",
       "spec.exchange.compressor is set with algorithm AEG, which sends float32; allowed: none\n"},
      {"algorithm: OLGA } compressor { quantize { bits: 4 } ",
       "spec.exchange.compressor is biased with algorithm OLGA; allowed: none, rand_k, perm_k, "
       "natural, quantize with stochastic: true, or algorithm EF_OLGA\n"},
      {"algorithm: OLGA } compressor { rand_k { density: 0.1 scaled: false } ",
       "spec.exchange.compressor is biased with algorithm OLGA; allowed: none, rand_k, perm_k, "
       "natural, quantize with stochastic: true, or algorithm EF_OLGA\n"},
      {"algorithm: DIANA } compressor { quantize { bits: 4 stochastic: true } ",
       "spec.exchange.compressor does not suit algorithm DIANA; allowed: rand_k, scaled or "
       "unset\n"},
      {"algorithm: MARINA ",
       "spec.exchange.compressor does not suit algorithm MARINA; allowed: rand_k, scaled or "
       "unset\n"},
      {"algorithm: EF21 } compressor { rand_k { density: 0.1 scaled: true } ",
       "spec.exchange.compressor is scaled with algorithm EF21, which needs a contraction; "
       "allowed: scaled: false\n"},
      {"algorithm: EF_OLGA } compressor { low_rank { rank: 2 } ",
       "spec.exchange.compressor does not suit exchange.convex, whose messages are vectors to "
       "rank 0; allowed: none, quantize, top_k, chunked_top_k, rand_k, perm_k, natural\n"},
      {"algorithm: EF21 } compressor { quantize { bits: 8 rows {} } ",
       "spec.exchange.compressor.quantize.rows is set with exchange.convex, whose messages have "
       "no rows; allowed: block\n"},
      {"algorithm: EF21 } compressor { top_k { density: 0.1 } error_feedback: true ",
       "spec.exchange.compressor.error_feedback is set with exchange.convex; allowed: unset, since "
       "the algorithm says what is done with what a codec loses (EF_OLGA and EF21 send it "
       "later)\n"},
  };
  for (const auto& [exchange, expected] : table) {
    EXPECT_EQ(problems(job_with(convex(exchange))), expected);
  }
}

TEST(ConvexCheckTest, RefusesWhatFullGradientsHaveNoUseFor) {
  const std::string gd = convex("algorithm: GD");
  const std::string why =
      " is set with exchange.convex, whose algorithm takes the gradient over all samples and makes "
      "its own steps; allowed: unset\n";
  EXPECT_EQ(problems(job_with(gd, "batch_size: 64")), "spec.train.batch_size" + why);
  EXPECT_EQ(problems(job_with(gd, "optimizer { sgd { learning_rate: 1 } }")),
            "spec.train.optimizer" + why);
  EXPECT_EQ(problems(job_with(gd, "schedule {}")), "spec.train.schedule" + why);
  EXPECT_EQ(problems(job_with(gd, "clip_norm: 1")), "spec.train.clip_norm" + why);
  EXPECT_EQ(problems(job_with(gd, "precision: BFLOAT16")), "spec.train.precision" + why);
  EXPECT_EQ(problems(job_with(gd, "logit_adjustment: 1")), "spec.train.logit_adjustment" + why);
  EXPECT_EQ(problems(job_with(gd, "checkpoint { directory: '/saved' }")), "");
  EXPECT_EQ(problems(job_with(gd, "", "mlp {}")),
            "spec.exchange.convex needs a model whose loss is convex; allowed: with spec.model "
            "softmax or linear\n");
  EXPECT_EQ(problems(job_with(gd + " schedule: RING")),
            "spec.exchange.schedule is set with exchange.convex, whose workers talk to rank 0 "
            "alone; allowed: AUTO or STAR, which mean the same here\n");
}

TEST(ConvexCheckTest, RefusesALinearModelWithoutALossOfItsOwn) {
  const auto text = [](const std::string& model) {
    return problems(job_with(convex("algorithm: GD"), "", model));
  };
  EXPECT_EQ(text("linear {}"), "spec.model.linear.loss is missing; allowed: MSE or LOGISTIC\n");
  EXPECT_EQ(text("linear { loss: CROSS_ENTROPY }"),
            "spec.model.linear.loss is CROSS_ENTROPY, which needs an output for each class; "
            "allowed: MSE or LOGISTIC, or the model softmax\n");
  EXPECT_EQ(text("linear { loss: MSE features: 0 positive_class: -1 }"),
            "spec.model.linear.features is 0; allowed: 1..10000000\n"
            "spec.model.linear.positive_class is -1; allowed: 0..99999\n");
}

// One worker of 4, d = 100: a float32 vector is 400 bytes, a frame's header 64.
TEST(ConvexCheckTest, PredictsWhatAnIterationSends) {
  const core::Layout layout = {{{"x", 1, 100}}};
  const auto predict = [&](const std::string& exchange) {
    return predict_round(job_with(exchange), layout);
  };
  const int64_t vector = 464;
  const int64_t number = 72;
  const RoundPrediction gd = predict(convex("algorithm: GD"));
  EXPECT_EQ(gd.up_bytes, vector);
  EXPECT_EQ(gd.down_bytes, vector + number);
  EXPECT_EQ(gd.sent_bytes, 3 * (vector + number));
  EXPECT_EQ(gd.rounds, 90);
  EXPECT_EQ(gd.schedule, core::Schedule::kStar);
  const RoundPrediction aeg = predict(convex("algorithm: AEG"));
  EXPECT_EQ(aeg.up_bytes, 2 * vector);
  EXPECT_EQ(aeg.down_bytes, 2 * vector + number);
  // K = 10: ten inner rounds, the first of which says nothing; 8 bytes of seed.
  const RoundPrediction olga =
      predict(convex("algorithm: OLGA") + " compressor { rand_k { density: 0.1 } }");
  EXPECT_EQ(olga.up_bytes, 2 * vector + 9 * (64 + 48));
  EXPECT_EQ(olga.down_bytes, 20 * vector + number);
  // The last message of EF-OLGA is a float32 vector.
  const RoundPrediction ef = predict(convex("algorithm: EF_OLGA inner_rounds: 3 lazy: 1") +
                                     " compressor { top_k { density: 0.1 value_bits: 32 } }");
  EXPECT_EQ(ef.up_bytes, 3 * vector + 64 + ef.payload_bytes);
  EXPECT_EQ(ef.down_bytes, 6 * vector + 2 * number);
  EXPECT_TRUE(ef.varies);
}

}  // namespace
}  // namespace laconic::wire
