#include "common/wire/job_spec.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"

namespace laconic::wire {
namespace {

using ::laconic::testing::StatusIs;

v1::TrainJob parse(const std::string& text) {
  v1::TrainJob job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
  return job;
}

v1::TrainJob valid_job() {
  return parse(R"pb(
    api_version: "laconic.v1"
    kind: "TrainJob"
    metadata { name: "fashion-mnist" }
    spec {
      workers { count: 4 }
      model { conv {} }
      data {
        idx { train_images: "/a" train_labels: "/b" }
        shared {}
      }
      train {
        steps: 700
        optimizer { adamw { learning_rate: 0.003 } }
      }
      exchange {
        local { inner_steps: 32 }
        compressor {
          quantize {
            bits: 1
            rows {}
          }
        }
      }
    })pb");
}

std::string text_of(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations) {
    absl::StrAppend(&text, violation.path, " ", violation.description, "\n");
  }
  return text;
}

TEST(CheckJobTest, AcceptsAJobThatLeavesDefaultsOut) {
  EXPECT_EQ(text_of(check_job(valid_job())), "");
  EXPECT_EQ(text_of(check_job(with_defaults(valid_job()))), "");
}

struct BadJob {
  std::function<void(v1::TrainJob&)> change;
  std::string expected;
};

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void expect_violations(const std::vector<BadJob>& table) {
  for (const BadJob& bad : table) {
    v1::TrainJob job = valid_job();
    bad.change(job);
    EXPECT_EQ(text_of(check_job(job)), bad.expected);
  }
}

TEST(CheckJobTest, NamesWhatIsWrongWithModelAndData) {
  expect_violations({
      {[](auto& j) { j.set_api_version("laconic.v2"); },
       "api_version is \"laconic.v2\"; allowed: laconic.v1\n"},
      {[](auto& j) { j.clear_kind(); }, "kind is missing; allowed: TrainJob\n"},
      {[](auto& j) { j.mutable_metadata()->set_name("-x"); },
       "metadata.name is \"-x\"; allowed: 1..63 of a-z, 0-9 and -, starting with a letter or "
       "digit, such as fashion-mnist\n"},
      {[](auto& j) { j.mutable_spec()->mutable_workers()->set_count(0); },
       "spec.workers.count is 0; allowed: 1..1024\n"},
      {[](auto& j) { j.mutable_spec()->mutable_workers()->set_threads_per_rank(257); },
       "spec.workers.threads_per_rank is 257; allowed: 1..256\n"},
      {[](auto& j) {
         j.mutable_spec()->mutable_workers()->set_device(static_cast<v1::Workers::Device>(4));
       },
       "spec.workers.device is 4; allowed: AUTO, CPU or CUDA\n"},
      {[](auto& j) { j.mutable_spec()->clear_model(); },
       "spec.model is missing; allowed: one of softmax, mlp, conv, resnet20, gpt, torchscript, "
       "linear\n"},
      {[](auto& j) { j.mutable_spec()->mutable_model()->mutable_conv()->set_height(3); },
       "spec.model.conv.height is 3; allowed: 4..1024\n"},
      {[](auto& j) { j.mutable_spec()->mutable_model()->mutable_conv()->set_classes(0); },
       "spec.model.conv.classes is 0; allowed: 2..100000\n"},
      {[](auto& j) { j.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(0); },
       "spec.model.mlp.hidden[0] is 0; allowed: 1..65536\n"},
      {[](auto& j) { j.mutable_spec()->mutable_data()->clear_source(); },
       "spec.data is missing; allowed: one of idx, bytes, libsvm\n"},
      {[](auto& j) { j.mutable_spec()->mutable_data()->clear_split(); },
       "spec.data.shared is missing; allowed: one of shared (every node has all data) and local "
       "(each has its share)\n"},
      {[](auto& j) { j.mutable_spec()->mutable_data()->mutable_idx()->clear_train_images(); },
       "spec.data.idx.train_images is missing; allowed: the path of a file on the nodes\n"},
      {[](auto& j) { j.mutable_spec()->mutable_data()->mutable_idx()->set_eval_labels("/e"); },
       "spec.data.idx.eval_images is missing; allowed: both eval_images and eval_labels, or "
       "neither (eval_labels is set)\n"},
      {[](auto& j) {
         j.mutable_spec()->mutable_data()->mutable_shared()->mutable_dirichlet()->set_alpha(0);
       },
       "spec.data.shared.dirichlet.alpha is 0; allowed: 0.01..1000\n"},
      {[](auto& j) { j.mutable_spec()->mutable_model()->mutable_gpt(); },
       "spec.data.idx does not suit the model gpt; allowed: bytes\n"},
      {[](auto& j) { j.mutable_spec()->mutable_data()->mutable_bytes()->set_path("/t"); },
       "spec.data.bytes does not suit the model conv; allowed: idx\n"},
  });
}

// Half a letter in an answer would make the whole answer unreadable.
TEST(CheckJobTest, CutsLongWordsBetweenLetters) {
  v1::TrainJob job = valid_job();
  const std::string ascii(79, 'a');
  job.mutable_metadata()->set_name(ascii + "\u00e9");
  EXPECT_EQ(text_of(check_job(job)),
            absl::StrCat("metadata.name is \"", ascii,
                         "\"; allowed: 1..63 of a-z, 0-9 and -, starting with a letter or digit, "
                         "such as fashion-mnist\n"));
  job = valid_job();
  (*job.mutable_metadata()->mutable_labels())[ascii.substr(0, 62) + "\u00e9"] = "x";
  EXPECT_EQ(text_of(check_job(job)),
            absl::StrCat("metadata.labels.", ascii.substr(0, 62),
                         " has a key of 64 and a value of 1 bytes; allowed: keys of 1..63 and "
                         "values of 0..63 bytes\n"));
}

TEST(CheckJobTest, TakesALogitAdjustmentOfClassLogitsOnly) {
  expect_violations({
      {[](auto& j) { j.mutable_spec()->mutable_train()->set_logit_adjustment(5); },
       "spec.train.logit_adjustment is 5; allowed: 0..4\n"},
      {[](auto& j) { j.mutable_spec()->mutable_train()->set_logit_adjustment(kNan); },
       "spec.train.logit_adjustment is nan; allowed: 0..4\n"},
      {[](v1::TrainJob& j) {
         j.mutable_spec()->mutable_train()->set_logit_adjustment(1);
         v1::TorchScript& script = *j.mutable_spec()->mutable_model()->mutable_torchscript();
         script.set_file("/m.pt");
         script.set_loss(v1::MSE);
       },
       "spec.train.logit_adjustment is set and the model's loss is not CROSS_ENTROPY; allowed: "
       "unset\n"},
  });
}

TEST(CheckJobTest, ACheckpointNeedsADirectory) {
  expect_violations({
      {[](auto& j) { j.mutable_spec()->mutable_train()->mutable_checkpoint(); },
       "spec.train.checkpoint.directory is missing; allowed: the path of a directory on the "
       "nodes\n"},
      {[](v1::TrainJob& j) {
         v1::Checkpoint& checkpoint = *j.mutable_spec()->mutable_train()->mutable_checkpoint();
         checkpoint.set_directory("/saved");
         checkpoint.set_every_steps(0);
       },
       "spec.train.checkpoint.every_steps is 0; allowed: 1..1000000000\n"},
  });
}

TEST(CheckJobTest, NamesWhatIsWrongWithTrainingAndExchange) {
  expect_violations({
      {[](auto& j) { j.mutable_spec()->mutable_train()->clear_steps(); },
       "spec.train.steps is missing; allowed: 1..1000000000\n"},
      {[](auto& j) { j.mutable_spec()->mutable_train()->set_batch_size(0); },
       "spec.train.batch_size is 0; allowed: 1..1000000\n"},
      {[](auto& j) { j.mutable_spec()->mutable_train()->clear_optimizer(); },
       "spec.train.optimizer is missing; allowed: one of sgd, adamw, muon\n"},
      {[](auto& j) { j.mutable_spec()->mutable_train()->set_clip_norm(kInfinity); },
       "spec.train.clip_norm is inf; allowed: a finite number greater than 0\n"},
      {[](auto& j) {
         auto* adamw = j.mutable_spec()->mutable_train()->mutable_optimizer()->mutable_adamw();
         adamw->set_learning_rate(kNan);
       },
       "spec.train.optimizer.adamw.learning_rate is nan; allowed: greater than 0, at most 100\n"},
      {[](auto& j) { j.mutable_spec()->mutable_exchange()->clear_method(); },
       "spec.exchange is missing; allowed: one of dense, local, convex, lazy, "
       "power_sgd, demo, ef21, auto\n"},
      {[](auto& j) { j.mutable_spec()->mutable_exchange()->mutable_local()->set_inner_steps(0); },
       "spec.exchange.local.inner_steps is 0; allowed: 1..1000000\n"},
      {[](auto& j) {
         j.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_bits(
             3);
       },
       "spec.exchange.compressor.quantize.bits is 3; allowed: 8, 4, 2 or 1\n"},
      {[](auto& j) {
         j.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_block(
             100);
       },
       "spec.exchange.compressor.quantize.block is 100; allowed: a power of two in 16..65536\n"},
      {[](auto& j) {
         auto* compressor = j.mutable_spec()->mutable_exchange()->mutable_compressor();
         compressor->mutable_none();
         compressor->set_error_feedback(true);
       },
       "spec.exchange.compressor.error_feedback is true with a codec that loses nothing; allowed: "
       "true with a lossy codec\n"},
      {[](auto& j) {
         j.mutable_spec()->mutable_exchange()->mutable_round_deadline()->set_nanos(5);
       },
       "spec.exchange.round_deadline is 5e-09s; allowed: 1s..24h\n"},
      {[](v1::TrainJob& j) { j.mutable_spec()->mutable_exchange()->set_schedule(v1::RING); },
       "spec.exchange.schedule is RING with a codec, which would lose again at every hop; allowed: "
       "AUTO, ALL_GATHER, SHARDED, STAR, TREE or HIERARCHICAL, or RING with compressor none\n"},
      {[](v1::TrainJob& j) {
         j.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_perm_k();
         j.mutable_spec()->mutable_exchange()->set_schedule(v1::SHARDED);
       },
       "spec.exchange.schedule is SHARDED, which cuts the vector, and this compressor needs it "
       "whole; allowed: AUTO or ALL_GATHER, or the compressor none, quantize or top_k\n"},
      {[](v1::TrainJob& j) {
         j.mutable_spec()->mutable_exchange()->set_schedule(static_cast<v1::ExchangeSchedule>(9));
       },
       "spec.exchange.schedule is 9; allowed: AUTO, ALL_GATHER, SHARDED, RING, STAR, TREE or "
       "HIERARCHICAL\n"},
      {[](v1::TrainJob& j) { j.mutable_spec()->mutable_exchange()->set_lanes(0); },
       "spec.exchange.lanes is 0; allowed: 1..16\n"},
      {[](v1::TrainJob& j) { j.mutable_spec()->mutable_exchange()->set_lanes(17); },
       "spec.exchange.lanes is 17; allowed: 1..16\n"},
  });
}

TEST(CheckJobTest, RefusesSitesThatDoNotFitTheWorkers) {
  const auto sites = [](int32_t workers, v1::ExchangeSchedule schedule, int32_t ranks_per_site) {
    return [=](v1::TrainJob& j) {
      j.mutable_spec()->mutable_workers()->set_count(workers);
      j.mutable_spec()->mutable_exchange()->set_schedule(schedule);
      j.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_bits(8);
      if (ranks_per_site >= 0) {
        j.mutable_spec()->mutable_exchange()->set_ranks_per_site(ranks_per_site);
      }
    };
  };
  const std::string field = "spec.exchange.ranks_per_site ";
  expect_violations({
      {sites(4, v1::HIERARCHICAL, -1),
       field + "is missing; allowed: a divisor of spec.workers.count, such as 2 for sites of two "
               "ranks\n"},
      {sites(4, v1::HIERARCHICAL, 0), field + "is 0; allowed: 1..1024\n"},
      {sites(4, v1::HIERARCHICAL, 1025), field + "is 1025; allowed: 1..1024\n"},
      {sites(4, v1::HIERARCHICAL, 3),
       field + "is 3 with 4 workers; allowed: a divisor of spec.workers.count\n"},
      {sites(4, v1::HIERARCHICAL, 8),
       field + "is 8 with 4 workers; allowed: a divisor of spec.workers.count\n"},
      {sites(4, v1::HIERARCHICAL, 4),
       field + "is 4 with 4 workers: one site, so nothing would be compressed; allowed: a divisor "
               "of spec.workers.count below it, or compressor none\n"},
      {sites(4, v1::SHARDED, 3),
       field + "is 3 with 4 workers; allowed: a divisor of spec.workers.count\n"},
  });
  for (const int32_t ranks_per_site : {1, 2}) {
    v1::TrainJob job = valid_job();
    sites(4, v1::HIERARCHICAL, ranks_per_site)(job);
    EXPECT_THAT(check_job(job), ::testing::IsEmpty());
    EXPECT_EQ(exchange_spec(job).ranks_per_site, ranks_per_site);
    job.mutable_spec()->mutable_exchange()->set_schedule(v1::SHARDED);
    EXPECT_THAT(check_job(job), ::testing::IsEmpty());
  }
}

TEST(CheckJobTest, RefusesDensitiesOutsideZeroToHalf) {
  for (const double density : {0.0, -0.1, 0.51, 1.5, kNan, kInfinity}) {
    v1::TrainJob job = valid_job();
    job.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_top_k()->set_density(
        density);
    ASSERT_EQ(check_job(job).size(), 1U) << density;
    EXPECT_EQ(check_job(job)[0].path, "spec.exchange.compressor.top_k.density");
  }
}

TEST(CheckJobTest, ReportsEverythingThatIsWrongAtOnce) {
  const std::vector<Violation> violations = check_job(v1::TrainJob());
  EXPECT_EQ(violations.size(), 9U) << text_of(violations);
}

TEST(CheckJobTest, WantsAWidthThatTheDefaultHeadsDivide) {
  v1::TrainJob job = valid_job();
  job.mutable_spec()->mutable_data()->mutable_bytes()->set_path("/t");
  job.mutable_spec()->mutable_model()->mutable_gpt()->set_width(30);
  EXPECT_EQ(text_of(check_job(job)),
            "spec.model.gpt.width is 30 with 4 heads; allowed: a multiple of heads\n");
}

TEST(CheckJobTest, WantsTheLossOfATorchScriptModel) {
  v1::TrainJob job = valid_job();
  job.mutable_spec()->mutable_model()->mutable_torchscript()->set_file("/m.pt");
  EXPECT_EQ(text_of(check_job(job)),
            "spec.model.torchscript.loss is missing; allowed: CROSS_ENTROPY, MSE or LOGISTIC\n");
}

TEST(WithDefaultsTest, FillsInWhatTheProtoPromises) {
  v1::TrainJob asked = valid_job();
  asked.mutable_spec()->mutable_train()->mutable_checkpoint()->set_directory("/saved");
  const v1::TrainJob job = with_defaults(asked);
  const v1::Train& train = job.spec().train();
  EXPECT_EQ(train.checkpoint().every_steps(), 70);
  EXPECT_EQ(train.batch_size(), 64);
  EXPECT_EQ(train.eval_every_steps(), 70);
  EXPECT_EQ(train.eval_samples(), 2000);
  EXPECT_EQ(train.schedule().final_ratio(), 1.0);
  EXPECT_EQ(train.optimizer().adamw().beta2(), 0.999);
  EXPECT_EQ(job.spec().workers().threads_per_rank(), 1);
  EXPECT_EQ(job.spec().workers().device(), v1::Workers::AUTO);
  EXPECT_TRUE(job.spec().data().shared().has_iid());
  EXPECT_EQ(job.spec().exchange().round_deadline().seconds(), 60);
  EXPECT_EQ(job.spec().exchange().schedule(), v1::AUTO);
}

TEST(WithDefaultsTest, KeepsWhatTheJobSays) {
  v1::TrainJob job = valid_job();
  job.mutable_spec()->mutable_train()->mutable_optimizer()->mutable_sgd()->set_momentum(0);
  job.mutable_spec()->mutable_data()->mutable_shared()->mutable_dirichlet()->set_seed(0);
  job.mutable_spec()->mutable_train()->set_seed(5);
  const v1::TrainJob filled = with_defaults(job);
  EXPECT_EQ(filled.spec().train().optimizer().sgd().momentum(), 0.0);
  EXPECT_EQ(filled.spec().data().shared().dirichlet().seed(), 0U);
}

TEST(WithDefaultsTest, ChangesNothingTheSecondTime) {
  const v1::TrainJob once = with_defaults(valid_job());
  EXPECT_EQ(with_defaults(once).SerializeAsString(), once.SerializeAsString());
}

TEST(ExchangeSpecTest, TurnsErrorFeedbackOnForLossyCodecsOnly) {
  v1::TrainJob job = valid_job();
  const core::ExchangeSpec lossy = exchange_spec(job);
  EXPECT_EQ(lossy.method, core::Method::kLocal);
  EXPECT_EQ(lossy.rounds.inner_steps, 32);
  EXPECT_EQ(lossy.codec,
            (core::CodecSpec{
                .kind = core::CodecKind::kQuantize, .bits = 1, .rows = true, .world_size = 4}));
  EXPECT_TRUE(lossy.error_feedback);
  EXPECT_EQ(lossy.residual_decay, 0.9);

  job.mutable_spec()->mutable_exchange()->mutable_dense();
  job.mutable_spec()->mutable_exchange()->clear_compressor();
  const core::ExchangeSpec dense = exchange_spec(job);
  EXPECT_EQ(dense.codec.kind, core::CodecKind::kNone);
  EXPECT_EQ(dense.rounds.inner_steps, 1);
  EXPECT_FALSE(dense.error_feedback);
}

TEST(DeriveTimeoutsTest, FollowsTheRoundDeadlineWithinItsBounds) {
  v1::TrainJob job = valid_job();
  EXPECT_EQ(derive_timeouts(job).start_deadline, absl::Minutes(5));
  EXPECT_EQ(derive_timeouts(job).reservation_ttl, absl::Seconds(30));
  EXPECT_EQ(derive_timeouts(job).stop_grace, absl::Seconds(5));
  EXPECT_EQ(derive_timeouts(job).root_cause_wait, absl::Seconds(2));
  job.mutable_spec()->mutable_exchange()->mutable_round_deadline()->set_seconds(1);
  EXPECT_EQ(derive_timeouts(job).start_deadline, absl::Minutes(2));
  EXPECT_EQ(derive_timeouts(job).reservation_ttl, absl::Seconds(10));
  EXPECT_EQ(derive_timeouts(job).root_cause_wait, absl::Milliseconds(500));
  job.mutable_spec()->mutable_exchange()->mutable_round_deadline()->set_seconds(24 * 3600);
  EXPECT_EQ(derive_timeouts(job).start_deadline, absl::Hours(24));
}

TEST(ModelLayoutTest, MatchesTheIssuesConvNet) {
  ASSERT_OK_AND_ASSIGN(const core::Layout layout, model_layout(valid_job().spec().model(), {}));
  EXPECT_EQ(layout.elements(), 421'642);
  ASSERT_EQ(layout.tensors.size(), 8U);
  EXPECT_EQ(layout.tensors[4],
            (core::TensorShape{.name = "dense1.weight", .rows = 128, .columns = 3136}));
}

TEST(ModelLayoutTest, CountsTheParametersOfTheOtherModels) {
  const auto elements = [](const std::string& text) {
    v1::Model model;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &model));
    const absl::StatusOr<core::Layout> layout = model_layout(model, {});
    return layout.ok() ? layout->elements() : -1;
  };
  EXPECT_EQ(elements("softmax {}"), 7850);
  EXPECT_EQ(elements("softmax { features: 3 classes: 2 }"), 8);
  EXPECT_EQ(elements("mlp {}"), 784 * 128 + 128 + 1280 + 10);
  EXPECT_EQ(elements("mlp { hidden: [ 5, 3 ] features: 2 classes: 2 }"), 15 + 18 + 8);
  // He et al. 2015 give 0.27 M for CIFAR-10 (three channels).
  EXPECT_EQ(elements("resnet20 { channels: 3 }"), 269'722);
  EXPECT_EQ(elements("gpt { layers: 1 width: 8 heads: 2 context: 16 }"),
            256 * 8 + 16 * 8 + 12 * 64 + 256 * 8);
}

TEST(ModelLayoutTest, KnowsNothingOfATorchScriptFile) {
  v1::Model model;
  model.mutable_torchscript()->set_file("/m.pt");
  EXPECT_THAT(model_layout(model, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("TorchScript")));
  EXPECT_THAT(model_layout(v1::Model(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("spec.model")));
}

TEST(ExchangeSpecTest, OneLaneUnlessTheJobAsksForMore) {
  v1::TrainJob job = valid_job();
  EXPECT_EQ(exchange_spec(job).lanes, 1);
  job.mutable_spec()->mutable_exchange()->set_lanes(core::kLanesMax);
  EXPECT_TRUE(check_job(job).empty());
  EXPECT_EQ(exchange_spec(job).lanes, core::kLanesMax);
}

TEST(ExchangeSpecTest, TakesTheScheduleThatTheJobNames) {
  v1::TrainJob job = valid_job();
  EXPECT_EQ(exchange_spec(job).schedule, core::Schedule::kAuto);
  const std::vector<std::pair<v1::ExchangeSchedule, core::Schedule>> names = {
      {v1::AUTO, core::Schedule::kAuto},
      {v1::ALL_GATHER, core::Schedule::kAllGather},
      {v1::SHARDED, core::Schedule::kSharded},
      {v1::RING, core::Schedule::kRing},
      {v1::STAR, core::Schedule::kStar},
      {v1::TREE, core::Schedule::kTree},
      {v1::HIERARCHICAL, core::Schedule::kHierarchical}};
  for (const auto& [name, schedule] : names) {
    job.mutable_spec()->mutable_exchange()->set_schedule(name);
    EXPECT_EQ(exchange_spec(job).schedule, schedule);
  }
}

}  // namespace
}  // namespace laconic::wire
