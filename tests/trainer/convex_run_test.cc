// Jobs with exchange.convex: real trainers over gRPC, beside the library in one process.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "common/core/digest.h"
#include "common/wire/job_spec.h"
#include "tests/collective/world.h"
#include "tests/trainer/rank_processes.h"
#include "worker/trainer/convex_method.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/linear_objective.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;
using v1::Convex;

class ConvexRunTest : public RankProcessesTest {
 protected:
  ConvexRunTest() {
    v1::TrainJobSpec& spec = *job_.mutable_spec();
    set_loss(v1::LOGISTIC, 2);
    const int64_t steps = 12;
    spec.clear_train();
    spec.mutable_train()->set_steps(steps);
    spec.mutable_train()->set_seed(4);
    v1::Exchange& exchange = *spec.mutable_exchange();
    exchange.clear_compressor();
    Convex& convex = *exchange.mutable_convex();
    convex.set_algorithm(Convex::OLGA);
    convex.set_l2(0.1);
  }

  void set_loss(v1::Loss loss, int positive_class) {
    v1::Linear& linear = *job_.mutable_spec()->mutable_model()->mutable_linear();
    linear.set_loss(loss);
    linear.set_positive_class(positive_class);
  }
  Convex& convex() { return *job_.mutable_spec()->mutable_exchange()->mutable_convex(); }
  v1::Compressor& compressor() {
    return *job_.mutable_spec()->mutable_exchange()->mutable_compressor();
  }

  // OLGA with 4 bits in every message.
  void send_four_bits() {
    convex().set_inner_rounds(3);
    convex().set_gather_bits(4);
    convex().set_downlink_bits(4);
    compressor().mutable_quantize()->set_bits(4);
    compressor().mutable_quantize()->set_stochastic(true);
  }

  // The job on as many real trainers, all of which must end well.
  std::vector<Reports> run(int world_size) {
    start_worker(world_size);
    for (int rank = 0; rank < world_size; ++rank) {
      start_trainer(rank);
    }
    std::vector<Reports> reports;
    for (int rank = 0; rank < world_size; ++rank) {
      EXPECT_EQ(wait_for_exit(rank), core::kTrainerDone);
    }
    for (int rank = 0; rank < world_size; ++rank) {
      reports.push_back(worker_->reports(token_of(rank)));
      EXPECT_TRUE(reports.back().finished.has_value());
    }
    worker_.reset();
    return reports;
  }

  struct Solution {
    std::vector<double> x;  // of rank 0
    double gradient_norm = 0;
    double first_norm = 0;  // after the first iteration
  };
  // The job on threads of this process.
  Solution solve_here(int world_size, int64_t iterations) {
    job_.mutable_spec()->mutable_workers()->set_count(world_size);
    const v1::TrainJob job = wire::with_defaults(job_);
    const Transports transports = WorldKind{false, world_size}.make(1);
    Solution solution;
    on_all_ranks(world_size, [&](int rank) {
      torch::set_num_threads(1);  // As in a trainer: the order of sums depends on it.
      const StopSignal stop;
      const auto data = load_dataset(job, {.rank = rank, .world_size = world_size});
      ASSERT_OK(data.status());
      const auto model = make_model(job.spec().model(), (*data)->shape(), 0);
      ASSERT_OK(model.status());
      const auto flat = FlatModel::create(**model);
      ASSERT_OK(flat.status());
      const int64_t d = (*flat)->layout().elements();
      const auto objective = LinearObjective::make(
          (*model)->loss(), job.spec().exchange().convex().l2(), d, **data, stop);
      ASSERT_OK(objective.status());
      collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1,
                                            kTestDeadline);
      const std::vector<double> start(static_cast<size_t>(d));
      const auto made = make_convex_method(job, communicator, **objective, start, /*anchor=*/0,
                                           (*data)->samples());
      ASSERT_OK(made.status());
      convex::Method& method = *made->method;
      for (int64_t i = 0; i < iterations; ++i) {
        ASSERT_OK(method.iterate());
        if (rank == 0 && i == 0) {
          solution.first_norm = method.report().gradient_norm;
        }
      }
      if (rank == 0) {
        solution.x.assign(method.solution().begin(), method.solution().end());
        solution.gradient_norm = method.report().gradient_norm;
      }
    });
    return solution;
  }
};

// The numbers in a file of rank 0: they stand at its end, tensor after tensor.
std::vector<float> numbers_at_the_end(const std::string& file, size_t count) {
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes = {std::istreambuf_iterator<char>(stream), {}};
  std::vector<float> numbers(count);
  std::memcpy(numbers.data(), bytes.data() + bytes.size() - 4 * count, 4 * count);
  return numbers;
}

// torch's sums in a test differ in the last bit from those in a trainer.
constexpr double kSumsTolerance = 1e-9;

TEST_F(ConvexRunTest, TrainersOverGrpcEndWhereTheLibraryDoesInOneProcess) {
  send_four_bits();
  for (const int world_size : {1, 2, 3, 4}) {
    const std::vector<Reports> reports = run(world_size);
    const Solution expected = solve_here(world_size, 12);
    for (const Reports& one : reports) {
      EXPECT_EQ(one.finished->digest(), reports[0].finished->digest()) << world_size;
      EXPECT_EQ(one.finished->steps(), 12);
      EXPECT_NEAR(one.finished->convex().gradient_norm(), expected.gradient_norm,
                  kSumsTolerance * expected.first_norm);
    }
    const std::vector<float> model =
        numbers_at_the_end(reports[0].finished->files(0), expected.x.size());
    for (size_t i = 0; i < model.size(); ++i) {
      EXPECT_NEAR(model[i], expected.x[i], 1e-6) << world_size;  // of float32
    }
    EXPECT_EQ(core::digest(model), reports[0].finished->digest());
    EXPECT_LT(expected.gradient_norm, 0.1 * expected.first_norm) << world_size;
    EXPECT_GT(reports[0].finished->eval_accuracy(), 0.9);
  }
}

TEST_F(ConvexRunTest, EveryAlgorithmComesNearerToTheSolution) {
  const auto falls = [this](const char* name, double factor) {
    const Solution solution = solve_here(3, 60);
    EXPECT_LT(solution.gradient_norm, factor * solution.first_norm) << name;
  };
  for (const Convex::Algorithm algorithm : {Convex::AEG, Convex::GD, Convex::AGD, Convex::LAQ}) {
    convex().set_algorithm(algorithm);
    falls(Convex::Algorithm_Name(algorithm).c_str(), 0.1);
  }
  compressor().mutable_rand_k()->set_density(0.25);
  for (const Convex::Algorithm algorithm : {Convex::OLGA, Convex::DIANA, Convex::MARINA}) {
    convex().set_algorithm(algorithm);
    falls(Convex::Algorithm_Name(algorithm).c_str(), 0.5);
  }
  compressor().mutable_top_k()->set_density(0.25);
  for (const Convex::Algorithm algorithm : {Convex::EF_OLGA, Convex::EF21, Convex::LAQ}) {
    convex().set_algorithm(algorithm);
    falls(Convex::Algorithm_Name(algorithm).c_str(), 0.5);
  }
}

TEST_F(ConvexRunTest, RidgeAndSoftmaxRegressionAreSolvedToTheTolerance) {
  send_four_bits();
  job_.mutable_spec()->mutable_train()->set_steps(400);
  convex().set_tolerance(1e-4);
  for (const bool ridge : {true, false}) {
    if (ridge) {
      set_loss(v1::MSE, 1);
    } else {
      job_.mutable_spec()->mutable_model()->mutable_softmax();
    }
    const std::vector<Reports> reports = run(2);
    for (const Reports& one : reports) {
      EXPECT_TRUE(one.finished->convex().converged());
      EXPECT_LE(one.finished->convex().gradient_norm(), 1e-4);
      EXPECT_LT(one.finished->steps(), 400);
      EXPECT_EQ(one.finished->steps(), reports[0].finished->steps());
    }
    EXPECT_EQ(reports[0].finished->has_eval_accuracy(), !ridge);
  }
}

TEST_F(ConvexRunTest, ReportsSayWhatEachIterationDecidedAndWhy) {
  convex().set_algorithm(Convex::EF_OLGA);
  convex().set_lazy(3);
  compressor().mutable_top_k()->set_density(0.25);
  const std::vector<Reports> reports = run(3);
  std::set<std::string> reasons;
  std::string told;
  for (const v1::TrainerEvent& event : reports[0].events) {
    reasons.insert(event.reason());
    absl::StrAppend(&told, event.message(), "\n");
  }
  EXPECT_EQ(reasons, (std::set<std::string>{"CONVEX_CONSTANTS", "CONVEX_ITERATION", "CONVEX_END"}));
  EXPECT_THAT(told, HasSubstr("EF_OLGA, l2 0.1, mu 0.1, delta "));
  EXPECT_THAT(told, HasSubstr("(estimated, a first guess)"));
  EXPECT_THAT(told, HasSubstr("iteration 12: 4 inner rounds (as the compressor shrinks), delta "));
  EXPECT_THAT(told, HasSubstr(" messages not sent: |w|^2 <= 3 delta^2 |x - x0|^2; gradient norm "));
  EXPECT_THAT(told, HasSubstr("after 12 iterations"));
  EXPECT_TRUE(reports[1].events.empty());
  const v1::ConvexState& state = reports[0].finished->convex();
  EXPECT_GT(state.similarity(), 0);
  EXPECT_GT(state.skipped_messages(), 0);
  // Two full gradients and three messages behind the silent first round, of two workers each.
  EXPECT_EQ(state.messages() + state.skipped_messages(), 12 * 2 * (2 + 3));
  EXPECT_EQ(reports[0].finished->rounds(), 12 * (2 + 3));
  EXPECT_GT(state.subproblem_steps(), 0);
  EXPECT_EQ(reports[0].history.size(), 12U);
  EXPECT_EQ(reports[0].finished->exchange().schedule(), "star");
}

// Shares of unlike classes: some rank is more like all than the others, and with this seed that is
// not rank 0.
TEST_F(ConvexRunTest, TheRankMostLikeAllIsTheAnchorAndReportsForAll) {
  send_four_bits();
  job_.mutable_spec()->mutable_data()->mutable_shared()->mutable_dirichlet()->set_alpha(0.3);
  const double first = run(4)[0].finished->convex().gradient_norm();
  convex().set_anchor(Convex::MOST_ALIKE);
  const std::vector<Reports> reports = run(4);
  const int anchor = reports[0].finished->convex().anchor();
  ASSERT_NE(anchor, 0);
  EXPECT_NE(reports[0].finished->convex().gradient_norm(), first) << "rank 0 was the anchor";
  for (int rank = 0; rank < 4; ++rank) {
    const Reports& one = reports[static_cast<size_t>(rank)];
    EXPECT_EQ(one.finished->convex().anchor(), anchor);
    EXPECT_EQ(one.finished->digest(), reports[0].finished->digest());
    EXPECT_EQ(one.finished->has_exchange(), rank == anchor);
    EXPECT_EQ(one.finished->has_eval_loss(), rank == anchor);
    EXPECT_EQ(one.finished->convex().messages() > 0, rank == anchor);
    EXPECT_EQ(one.finished->files().empty(), rank != 0);
  }
  ASSERT_FALSE(reports[static_cast<size_t>(anchor)].events.empty());
  EXPECT_THAT(reports[static_cast<size_t>(anchor)].events[0].message(),
              HasSubstr(absl::StrCat("; rank ", anchor, " is the anchor worker, most like all")));
}

// Up: two float32 vectors of 65 numbers an iteration. Down: two, and the gradient norm.
TEST_F(ConvexRunTest, SendsWhatWasPredicted) {
  convex().set_algorithm(Convex::AEG);
  convex().set_similarity(0.5);
  const std::vector<Reports> reports = run(2);
  const v1::TrainJob job = wire::with_defaults(job_);
  const wire::RoundPrediction round = wire::predict_round(job, {{{"x", 1, 65}}});
  EXPECT_EQ(round.up_bytes, 2 * (64 + 4 * 65));
  EXPECT_EQ(reports[1].finished->bytes().sent(), 12 * round.up_bytes);
  EXPECT_EQ(reports[1].finished->bytes().received(), 12 * round.down_bytes);
  EXPECT_EQ(reports[0].finished->bytes().sent(), 12 * round.sent_bytes);
}

TEST_F(ConvexRunTest, ALostWorkerIsNamedInTheMiddleOfAnIteration) {
  job_.mutable_spec()->mutable_train()->set_steps(100'000'000);
  start_worker(2);
  start_trainer(0);
  start_trainer(1);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/true));
  kill(running_.at(1), SIGKILL);
  EXPECT_EQ(wait_for_exit(1), -SIGKILL);
  EXPECT_EQ(wait_for_exit(0), core::kTrainerPeerLost);
  const Reports reports = worker_->reports(token_of(0));
  ASSERT_TRUE(reports.failure.has_value());
  EXPECT_EQ(reports.failure->reason(), "PEER_LOST");
  EXPECT_EQ(reports.failure->peer_rank(), 1);
}

TEST_F(ConvexRunTest, StopEndsARunningMethodWithoutAFailureOfItsOwn) {
  job_.mutable_spec()->mutable_train()->set_steps(100'000'000);
  start_worker(1);
  start_trainer(0);
  ASSERT_TRUE(worker_->wait_for(token_of(0), /*progress=*/true));
  worker_->stop(token_of(0));
  EXPECT_EQ(wait_for_exit(0), core::kTrainerFailed);
  EXPECT_FALSE(worker_->reports(token_of(0)).failure.has_value());
}

TEST_F(ConvexRunTest, StepsThatAreTooLongAreDivergence) {
  convex().set_algorithm(Convex::GD);
  convex().set_step_scale(100);
  set_loss(v1::MSE, 1);
  job_.mutable_spec()->mutable_train()->set_steps(100'000);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "DIVERGED");
  EXPECT_THAT(failure.message(), HasSubstr("step_scale lower"));
}

TEST_F(ConvexRunTest, AClassThatNoSampleHasIsBadData) {
  set_loss(v1::LOGISTIC, 7);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_DATA");
  EXPECT_THAT(failure.message(), HasSubstr("train-labels: no label is 7"));
}

TEST_F(ConvexRunTest, LogisticLabelsOfSeveralClassesNeedAPositiveClass) {
  job_.mutable_spec()->mutable_model()->mutable_linear()->clear_positive_class();
  EXPECT_EQ(failure_of_one_rank().reason(), "BAD_DATA");
}

TEST_F(ConvexRunTest, AJobThatMixesBothKindsOfTrainingIsRefused) {
  job_.mutable_spec()->mutable_train()->set_batch_size(16);
  const v1::Failure failure = failure_of_one_rank();
  EXPECT_EQ(failure.reason(), "BAD_JOB");
  EXPECT_THAT(failure.message(), HasSubstr("spec.train.batch_size"));
}

// Labels of the other kind of file: -1 and +1 are classes 0 and 1.
TEST_F(ConvexRunTest, LibSvmRowsAreSolvedOnUnlikeSharesAlsoByALocalMethod) {
  std::string rows;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&rows, i % 3 == 0 ? "+1 1:1 3:" : "-1 2:1 3:", 0.01 * i, "\n");
  }
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_data()->mutable_libsvm()->set_train_file(directory_.write("rows", rows));
  spec.mutable_data()->mutable_shared()->mutable_dirichlet()->set_alpha(0.3);
  set_loss(v1::LOGISTIC, 1);
  EXPECT_EQ(run(3)[0].finished->eval_accuracy(), 1);
  // The model is not bound to these methods.
  spec.mutable_exchange()->mutable_dense();
  spec.mutable_train()->set_batch_size(4);
  spec.mutable_train()->mutable_optimizer()->mutable_sgd()->set_learning_rate(0.5);
  EXPECT_EQ(run(2)[0].finished->eval_accuracy(), 1);
}

TEST_F(ConvexRunTest, OthersWaitForAnEvaluationLongerThanTheRoundDeadline) {
  const QuadrantImages eval = quadrant_images(2'000'000, 3);
  v1::TrainJobSpec& spec = *job_.mutable_spec();
  spec.mutable_data()->mutable_idx()->set_eval_images(directory_.write("e", eval.images));
  spec.mutable_data()->mutable_idx()->set_eval_labels(directory_.write("l", eval.labels));
  spec.mutable_train()->set_steps(2);
  spec.mutable_train()->set_eval_every_steps(1);
  spec.mutable_train()->set_eval_samples(2'000'000);
  spec.mutable_exchange()->mutable_round_deadline()->set_seconds(1);
  run(2);
}

}  // namespace
}  // namespace laconic::trainer
