#include <gtest/gtest.h>

#include "common/core/payload_size.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {
namespace {

v1::TrainJob local_job(int32_t workers) {
  v1::TrainJob job;
  job.mutable_spec()->mutable_workers()->set_count(workers);
  job.mutable_spec()->mutable_train()->set_steps(700);
  job.mutable_spec()->mutable_exchange()->mutable_local()->set_inner_steps(32);
  return job;
}

core::Layout vector_of(int64_t elements) {
  return {{{.name = "w", .rows = 1, .columns = elements}}};
}

TEST(PredictRoundTest, CountsPayloadAndHeadersToEveryPeer) {
  v1::TrainJob job = local_job(4);
  job.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_bits(8);
  job.mutable_spec()->mutable_exchange()->set_schedule(v1::ALL_GATHER);
  const core::Layout layout = vector_of(3'000'000);
  const int64_t payload = core::payload_bytes_max(exchange_spec(job).codec, layout);
  ASSERT_GT(payload, 2 << 20);
  ASSERT_LE(payload, 3 << 20);
  const RoundPrediction round = predict_round(job, layout);
  EXPECT_EQ(round.payload_bytes, payload);
  EXPECT_EQ(round.sent_bytes, 3 * (payload + 3 * 64));
  EXPECT_EQ(round.dense_bytes, 2LL * 3 * 4 * 3'000'000 * 32 / 4);
  // 700 steps are 21 rounds of 32 and one of 28, which sends as much as the others.
  EXPECT_DOUBLE_EQ(round.times_less,
                   2.0 * 3 * 4 * 3'000'000 * 700 / 4 / static_cast<double>(22 * round.sent_bytes));
}

// A reused threshold may let through a quarter more or less.
TEST(PredictRoundTest, CountsWhatTopKKeepsWhenItsSelectionIsExact) {
  v1::TrainJob job = local_job(2);
  job.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_top_k()->set_density(0.01);
  const core::Layout layout = vector_of(3'000'000);
  const core::CodecSpec codec = exchange_spec(job).codec;
  const RoundPrediction round = predict_round(job, layout);
  EXPECT_EQ(round.payload_bytes, core::payload_bytes_expected(codec, layout));
  EXPECT_LT(round.payload_bytes, core::payload_bytes_max(codec, layout));
}

TEST(PredictRoundTest, SendsFloat32ShardsTwiceWithoutACodec) {
  const v1::TrainJob job = local_job(4);
  const RoundPrediction round = predict_round(job, vector_of(1'001));
  const int64_t shard = core::payload_bytes_max({.kind = core::CodecKind::kNone}, vector_of(251));
  EXPECT_EQ(round.sent_bytes, 2 * 3 * (shard + 64));
}

TEST(PredictRoundTest, FollowsTheScheduleThatIsChosen) {
  v1::TrainJob job = local_job(4);
  job.mutable_spec()->mutable_exchange()->mutable_compressor()->mutable_quantize()->set_bits(8);
  const core::Layout layout = vector_of(3'000'000);
  const RoundPrediction round = predict_round(job, layout);
  EXPECT_EQ(round.schedule, core::Schedule::kSharded);
  EXPECT_NEAR(static_cast<double>(round.sent_bytes), 1.5 * static_cast<double>(round.payload_bytes),
              0.01 * static_cast<double>(round.payload_bytes));
  EXPECT_EQ(predict_round(job, vector_of(1000)).schedule, core::Schedule::kAllGather);
}

TEST(PredictRoundTest, CountsAStartedRoundAsARound) {
  EXPECT_EQ(predict_round(local_job(4), vector_of(10)).rounds, 22);
  v1::TrainJob job = local_job(4);
  job.mutable_spec()->mutable_train()->set_steps(5);
  const RoundPrediction round = predict_round(job, vector_of(10));
  EXPECT_EQ(round.rounds, 1);
  EXPECT_EQ(round.dense_bytes, 2 * 3 * 4 * 10 * 5 / 4);
}

TEST(PredictRoundTest, SaysNothingToNobodyWithOneWorker) {
  const RoundPrediction round = predict_round(local_job(1), vector_of(10));
  EXPECT_EQ(round.sent_bytes, 0);
  EXPECT_EQ(round.dense_bytes, 0);
  EXPECT_EQ(round.times_less, 0.0);
}

}  // namespace
}  // namespace laconic::wire
