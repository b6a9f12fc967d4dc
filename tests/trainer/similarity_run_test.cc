// Runs that measure how alike their ranks are, as real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/trainer/rank_processes.h"

namespace laconic::trainer {
namespace {

using ::testing::HasSubstr;

class SimilarityRunTest : public RankProcessesTest {
 protected:
  v1::TrainJobSpec& spec() { return *job_.mutable_spec(); }
  v1::Local& local() { return *spec().mutable_exchange()->mutable_local(); }
  void measure_every(int64_t steps) {
    spec().mutable_exchange()->mutable_similarity()->set_every_steps(steps);
  }
  void make_shares_unlike() {
    v1::Dirichlet& unlike = *spec().mutable_data()->mutable_shared()->mutable_dirichlet();
    unlike.set_alpha(0.05);
    unlike.set_seed(3);
  }

  // Trains both ranks to the end.
  void run() {
    worker_.reset();
    start_worker(2);
    start_trainer(0);
    start_trainer(1);
    ASSERT_EQ(wait_for_exit(0), core::kTrainerDone);
    ASSERT_EQ(wait_for_exit(1), core::kTrainerDone);
    EXPECT_EQ(finished(0).digest(), finished(1).digest());
  }
  v1::Finished finished(int rank) {
    return worker_->reports(token_of(rank)).finished.value_or(v1::Finished());
  }
  std::vector<std::string> told(int rank) {
    std::vector<std::string> messages;
    for (const v1::TrainerEvent& event : worker_->reports(token_of(rank)).events) {
      if (event.reason() == "SIMILARITY_MEASURED") {
        messages.push_back(event.message());
      }
    }
    return messages;
  }
  // delta / L over the whole run.
  double ratio() {
    double delta = 0;
    double smoothness = 0;
    const v1::Finished first = finished(0);
    for (const v1::SimilarityState& state : first.similarity()) {
      delta += state.delta_rms() * state.delta_rms();
      smoothness += state.smoothness() * state.smoothness();
    }
    return std::sqrt(delta / smoothness);
  }
};

TEST_F(SimilarityRunTest, TrainingGoesOnAsIfNothingWereMeasured) {
  spec().mutable_model()->mutable_mlp()->add_hidden(16);
  for (const bool dense : {false, true}) {
    SCOPED_TRACE(dense);
    spec().mutable_exchange()->clear_similarity();
    if (dense) {
      spec().mutable_exchange()->mutable_dense();
    }
    run();
    const v1::Finished plain = finished(0);
    EXPECT_EQ(plain.similarity_size(), 0);
    EXPECT_TRUE(told(0).empty());
    measure_every(6);
    run();
    EXPECT_EQ(finished(0).digest(), plain.digest());
    EXPECT_EQ(finished(0).rounds(), plain.rounds());
    EXPECT_GE(finished(0).similarity_size(), 5);
  }
}

TEST_F(SimilarityRunTest, EveryRankKnowsItsOwnDeltaAndRankZeroAllAndTellsThem) {
  make_shares_unlike();
  measure_every(10);
  run();
  const v1::Finished first = finished(0);
  ASSERT_EQ(first.similarity_size(), 6);  // from steps 0, 10, .. 50 to the next round's end
  EXPECT_EQ(finished(1).similarity_size(), 0);
  const std::vector<std::string> sentences = told(0);
  ASSERT_EQ(sentences.size(), 6U);
  EXPECT_TRUE(told(1).empty());
  for (int i = 0; i < first.similarity_size(); ++i) {
    const v1::SimilarityState& state = first.similarity(i);
    EXPECT_EQ(state.step(), 10 * i + 5);
    ASSERT_EQ(state.deltas_size(), 2);
    EXPECT_EQ(state.delta(), state.deltas(0));
    // Two ranks are equally far from their mean.
    EXPECT_NEAR(state.deltas(0), state.deltas(1), 1e-6 * state.deltas(0));
    EXPECT_EQ(state.inner_steps(), 0);
    EXPECT_THAT(sentences[static_cast<size_t>(i)], HasSubstr("curve apart by delta = "));
  }
  for (const v1::Progress& progress : worker_->reports(token_of(1)).progress) {
    EXPECT_EQ(progress.similarity().deltas_size(), 0);
  }
}

TEST_F(SimilarityRunTest, UnlikeSharesShowInDelta) {
  spec().mutable_exchange()->mutable_similarity()->set_samples(100);
  measure_every(5);
  run();
  const double alike = ratio();
  make_shares_unlike();
  run();
  EXPECT_LT(alike, 0.4);
  EXPECT_GT(ratio(), 2 * alike);
  EXPECT_GT(ratio(), 0.5);
}

TEST_F(SimilarityRunTest, StepsBetweenRoundsFollowTheSimilarity) {
  make_shares_unlike();
  local().set_inner_steps(2);
  local().set_inner_steps_max(30);
  measure_every(5);
  run();
  const v1::Finished first = finished(0);
  EXPECT_LT(first.rounds(), 20);  // 30 with two steps each
  EXPECT_EQ(first.similarity(0).step(), 2);
  ASSERT_GE(first.rounds_decided_size(), 2);
  EXPECT_EQ(first.rounds_decided(0).reason(), v1::EVERY_ROUND);
  EXPECT_EQ(first.rounds_decided(0).inner_steps(), 2);
  const v1::RoundDecision& second = first.rounds_decided(1);
  EXPECT_EQ(second.reason(), v1::SIMILARITY);
  EXPECT_EQ(second.inner_steps(), first.similarity(0).inner_steps());
  EXPECT_GE(second.inner_steps(), 16);  // 8 (L / delta + 2)
  EXPECT_THAT(told(0)[0], HasSubstr("steps between rounds from now on"));
}

TEST_F(SimilarityRunTest, MoreSamplesThanAShareHasAreAllOfThem) {
  spec().mutable_exchange()->mutable_similarity()->set_samples(1'000'000);
  measure_every(20);
  run();
  EXPECT_EQ(finished(0).similarity_size(), 3);
}

TEST_F(SimilarityRunTest, OneRankAloneMeasuresNothing) {
  measure_every(5);
  start_worker(1);
  start_trainer(0);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerDone);
  EXPECT_EQ(finished(0).similarity_size(), 0);
  EXPECT_EQ(finished(0).bytes().sent(), 0);
}

}  // namespace
}  // namespace laconic::trainer
