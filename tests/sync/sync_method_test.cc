#include "common/sync/sync_method.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/core/digest.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "tests/collective/world.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::all_worlds;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kGeneration = 1;

core::Layout toy_layout() {
  return {{{"weight", 7, 43}, {"bias", 1, 7}}};
}  // 308 elements

// A rank with the loss 0.5 |theta - target|^2 and plain gradient descent.
class Toy {
 public:
  explicit Toy(int rank) {
    core::Random random(3, static_cast<uint64_t>(rank));
    for (float& value : parameters_) {
      value = static_cast<float>(random.uniform());
    }
    for (float& value : target_) {
      value = static_cast<float>(random.uniform() * 4 - 2);
    }
  }

  ModelView view() { return {parameters_, gradients_}; }
  std::vector<float>& parameters() { return parameters_; }
  std::vector<float>& gradients() { return gradients_; }
  const std::vector<float>& target() const { return target_; }

  void backward() {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      gradients_[i] = parameters_[i] - target_[i];
    }
  }
  void descend(float rate) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i] -= rate * gradients_[i];
    }
  }
  absl::Status step(SyncMethod& method, float rate, bool last) {
    backward();
    if (absl::Status status = method.reduce_gradients(view()); !status.ok()) {
      return status;
    }
    descend(rate);
    return method.end_step(view(), last);
  }

 private:
  std::vector<float> parameters_ = std::vector<float>(308);
  std::vector<float> gradients_ = std::vector<float>(308);
  std::vector<float> target_ = std::vector<float>(308);
};

// One rank: transport is given, communicator and method are its own.
struct Member {
  Member(collective::Transport& transport, const core::ExchangeSpec& spec,
         absl::Duration deadline = kTestDeadline)
      : communicator(transport, kGeneration, deadline), toy(transport.rank()) {
    auto made = make_sync_method(spec, toy_layout(), communicator);
    EXPECT_OK(made.status());
    method = *std::move(made);
  }
  collective::Communicator communicator;
  std::unique_ptr<SyncMethod> method;
  Toy toy;
};

std::vector<std::unique_ptr<Member>> members(const Transports& transports,
                                             const core::ExchangeSpec& spec) {
  std::vector<std::unique_ptr<Member>> all;
  for (const auto& transport : transports) {
    all.push_back(std::make_unique<Member>(*transport, spec));
  }
  return all;
}

// The mean over ranks of the targets: where the mean loss is least.
std::vector<double> optimum(const std::vector<std::unique_ptr<Member>>& all) {
  std::vector<double> mean(308);
  for (const auto& member : all) {
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += static_cast<double>(member->toy.target()[i]) / static_cast<double>(all.size());
    }
  }
  return mean;
}
double distance(const std::vector<float>& a, const std::vector<double>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return std::sqrt(squares);
}

std::vector<core::CodecSpec> all_codecs() {
  std::vector<core::CodecSpec> codecs = {{}};
  for (const int bits : {8, 4, 2, 1}) {
    codecs.push_back({.kind = core::CodecKind::kQuantize, .bits = bits, .block = 64});
    codecs.push_back({.kind = core::CodecKind::kQuantize, .bits = bits, .rows = true});
  }
  for (const int bits : {32, 8, 4, 2, 1}) {
    codecs.push_back({.kind = core::CodecKind::kTopK, .bits = bits, .density = 0.1});
  }
  return codecs;
}

core::ExchangeSpec exchange(core::Method method, const core::CodecSpec& codec) {
  core::ExchangeSpec spec;
  spec.method = method;
  spec.codec = codec;
  spec.error_feedback = codec.lossy();
  spec.residual_decay = 0.9;
  spec.rounds.inner_steps = 2;
  return spec;
}

class SyncWorldTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, SyncWorldTest, ::testing::ValuesIn(all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(SyncWorldTest, AllRanksHoldTheSameBitsAfterEveryRoundOfEveryMethodAndCodec) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  // One communicator over the whole test, as the sequence of operations goes on.
  std::vector<collective::Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, kGeneration, kTestDeadline);
  }
  for (const core::Method method : {core::Method::kDense, core::Method::kLocal}) {
    for (const core::CodecSpec& codec : all_codecs()) {
      SCOPED_TRACE(absl::StrCat("method ", static_cast<int>(method), " codec ",
                                static_cast<int>(codec.kind), " bits ", codec.bits));
      constexpr int kSteps = 5;
      std::vector<std::vector<std::vector<float>>> after(kSteps + 1);  // [step, rank]
      for (auto& ranks : after) {
        ranks.resize(static_cast<size_t>(world_size));
      }
      on_all_ranks(world_size, [&](int rank) {
        const size_t r = static_cast<size_t>(rank);
        ASSERT_OK_AND_ASSIGN(const auto sync, make_sync_method(exchange(method, codec),
                                                               toy_layout(), communicators[r]));
        Toy toy(rank);
        ASSERT_OK(sync->begin(toy.view()));
        after[0][r] = toy.parameters();
        for (int step = 1; step <= kSteps; ++step) {
          ASSERT_OK(toy.step(*sync, 0.1F, step == kSteps));
          if (sync->parameters_are_shared()) {
            after[static_cast<size_t>(step)][r] = toy.parameters();
            EXPECT_EQ(sync->digest(), core::digest(std::span<const float>(toy.parameters())));
          }
        }
        EXPECT_TRUE(sync->parameters_are_shared());
        EXPECT_EQ(sync->stats().rounds, method == core::Method::kDense ? kSteps : 3);
      });
      for (const auto& ranks : after) {
        for (const auto& parameters : ranks) {
          EXPECT_EQ(parameters, ranks[0]);
        }
      }
      EXPECT_EQ(after[0][0], Toy(0).parameters());
      EXPECT_NE(after[kSteps][0], after[0][0]);
    }
  }
  laconic::testing::finish_all(transports);
}

TEST_P(SyncWorldTest, RoundSendsOnePayloadAndItsHeaderToEveryPeer) {
  const core::CodecSpec codec = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
  Transports transports = GetParam().make(kGeneration);
  const auto all = members(transports, exchange(core::Method::kLocal, codec));
  on_all_ranks(GetParam().world_size, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    const int64_t before = member.communicator.bytes().sent;
    ASSERT_OK(member.toy.step(*member.method, 0.1F, /*last=*/true));
    EXPECT_EQ(member.communicator.bytes().sent - before,
              (GetParam().world_size - 1) *
                  (core::payload_bytes_max(codec, toy_layout()) + collective::kFrameHeaderBytes));
  });
  laconic::testing::finish_all(transports);
}

// Seide et al. 2014: without error feedback one bit does not get there, with it, it does.
TEST_P(SyncWorldTest, QuadraticConvergesWithOneBitAndErrorFeedback) {
  core::ExchangeSpec spec =
      exchange(core::Method::kDense, {.kind = core::CodecKind::kQuantize, .bits = 1, .block = 64});
  spec.residual_decay = 1;
  Transports transports = GetParam().make(kGeneration);
  const auto all = members(transports, spec);
  constexpr int kSteps = 300;
  on_all_ranks(GetParam().world_size, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    for (int step = 1; step <= kSteps; ++step) {
      // A falling rate: the error of a message is proportional to the gradients, which do not
      // vanish on ranks with different targets.
      ASSERT_OK(
          member.toy.step(*member.method, 2.0F / static_cast<float>(step + 20), step == kSteps));
    }
  });
  const std::vector<double> best = optimum(all);
  // 2 % of the way from the start.
  EXPECT_LT(distance(all[0]->toy.parameters(), best), 0.02 * distance(Toy(0).parameters(), best));
  laconic::testing::finish_all(transports);
}

class SyncMethodTest : public ::testing::Test {
 protected:
  // Two ranks in this process.
  collective::InProcessNetwork network_{2};
  Transports transports_ = laconic::testing::in_process_world(network_, 2);
};

TEST_F(SyncMethodTest, DenseStepsAlongTheMeanGradient) {
  const auto all = members(transports_, exchange(core::Method::kDense, {}));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    for (size_t i = 0; i < 308; ++i) {
      member.toy.gradients()[i] = static_cast<float>(rank == 0 ? 1 : 4);
    }
    ASSERT_OK(member.method->reduce_gradients(member.toy.view()));
    EXPECT_EQ(member.toy.gradients(), std::vector<float>(308, 2.5F));
  });
}

// Local SGD is local with H = 1, eta = 1, mu = 0.
TEST_F(SyncMethodTest, LocalWithoutOuterOptimizerAveragesTheParameters) {
  core::ExchangeSpec spec = exchange(core::Method::kLocal, {});
  spec.rounds.inner_steps = 1;
  spec.outer_rate = 1;
  spec.outer_momentum = 0;
  const auto all = members(transports_, spec);
  std::vector<std::vector<float>> before(2);
  on_all_ranks(2, [&](int rank) {
    const size_t r = static_cast<size_t>(rank);
    Member& member = *all[r];
    ASSERT_OK(member.method->begin(member.toy.view()));
    // Multiples of 1/64 below 8: every sum and difference is exact in float.
    for (size_t i = 0; i < 308; ++i) {
      member.toy.parameters()[i] = 0;
    }
    ASSERT_OK(member.method->begin(member.toy.view()));
    for (size_t i = 0; i < 308; ++i) {
      member.toy.parameters()[i] = static_cast<float>((i * 7 + r * 100) % 512) / 64;
    }
    before[r] = member.toy.parameters();
    ASSERT_OK(member.method->end_step(member.toy.view(), false));
  });
  for (size_t i = 0; i < 308; ++i) {
    EXPECT_EQ(all[0]->toy.parameters()[i], (before[0][i] + before[1][i]) / 2);
  }
}

// arXiv 2311.08105, algorithm 1 with Nesterov: two rounds by hand.
TEST_F(SyncMethodTest, LocalTakesTheOuterNesterovStep) {
  core::ExchangeSpec spec = exchange(core::Method::kLocal, {});
  spec.rounds.inner_steps = 1;
  spec.outer_rate = 0.5;
  spec.outer_momentum = 0.5;
  const auto all = members(transports_, spec);
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    std::vector<float>& theta = member.toy.parameters();
    theta.assign(308, 0);
    ASSERT_OK(member.method->begin(member.toy.view()));
    theta.assign(308, rank == 0 ? -1.0F : -3.0F);  // D = 2, m = 2: 0 - 0.5 (2 + 1)
    ASSERT_OK(member.method->end_step(member.toy.view(), false));
    EXPECT_EQ(theta, std::vector<float>(308, -1.5F));
    theta.assign(308, -2.5F);  // D = 1, m = 2: -1.5 - 0.5 (1 + 1)
    ASSERT_OK(member.method->end_step(member.toy.view(), false));
    EXPECT_EQ(theta, std::vector<float>(308, -2.5F));
  });
}

TEST_F(SyncMethodTest, LocalExchangesEveryInnerStepsAndAtTheEnd) {
  core::ExchangeSpec spec = exchange(core::Method::kLocal, {});
  spec.rounds.inner_steps = 3;
  const auto all = members(transports_, spec);
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    std::vector<bool> shared;
    for (int step = 1; step <= 7; ++step) {
      ASSERT_OK(member.toy.step(*member.method, 0.1F, step == 7));
      shared.push_back(member.method->parameters_are_shared());
    }
    EXPECT_EQ(shared, (std::vector<bool>{false, false, true, false, false, true, true}));
    EXPECT_EQ(member.method->stats().rounds, 3);
  });
}

TEST_F(SyncMethodTest, StatsSayWhatTheRoundLost) {
  const core::CodecSpec codec = {.kind = core::CodecKind::kQuantize, .bits = 1, .block = 64};
  const auto all = members(transports_, exchange(core::Method::kDense, codec));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    ASSERT_OK(member.toy.step(*member.method, 0.1F, true));
    const SyncStats stats = member.method->stats();
    EXPECT_GT(stats.update_norm, 0);
    EXPECT_GT(stats.compression_error_ratio, 0);
    EXPECT_LT(stats.compression_error_ratio, 1);
    EXPECT_NEAR(stats.residual_norm, stats.update_norm * std::sqrt(stats.compression_error_ratio),
                1e-6 * stats.update_norm);
    EXPECT_GT(stats.exchange_seconds, 0);
  });
}

// A failed round leaves no trace: not in the parameters, and the retry is accepted by error
// feedback, which allows one open exchange.
TEST_F(SyncMethodTest, FailedRoundIsRolledBackAndCanBeTriedAgain) {
  const core::CodecSpec codec = {.kind = core::CodecKind::kQuantize, .bits = 1, .block = 64};
  core::ExchangeSpec spec = exchange(core::Method::kLocal, codec);
  spec.rounds.inner_steps = 1;
  const auto all = members(transports_, spec);
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    ASSERT_OK(member.toy.step(*member.method, 0.1F, false));
  });
  Member& member = *all[0];
  member.toy.backward();
  member.toy.descend(0.1F);
  const std::vector<float> before = member.toy.parameters();
  const uint64_t digest = member.method->digest();
  member.communicator.abort(absl::CancelledError("stop"));
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THAT(member.method->end_step(member.toy.view(), false),
                StatusIs(absl::StatusCode::kCancelled, "stop"));
    EXPECT_EQ(member.toy.parameters(), before);
    EXPECT_EQ(member.method->digest(), digest);
    EXPECT_EQ(member.method->stats().rounds, 1);
  }
}

TEST_F(SyncMethodTest, PeerThatDiesMidRunIsNamed) {
  const auto all = members(transports_, exchange(core::Method::kDense, {}));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    if (rank == 1) {
      network_.drop(1);
      return;
    }
    EXPECT_THAT(member.toy.step(*member.method, 0.1F, false),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 closed its stream")));
    EXPECT_EQ(member.communicator.failed_rank(), 1);
  });
}

TEST_F(SyncMethodTest, CorruptedPayloadIsDataLoss) {
  const core::CodecSpec codec = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 64};
  const auto all = members(transports_, exchange(core::Method::kDense, codec));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    if (rank == 1) {
      network_.corrupt_next(1, 0, 100);
    }
    const absl::Status status = member.toy.step(*member.method, 0.1F, false);
    if (rank == 0) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                   AllOf(HasSubstr("rank 1"), HasSubstr("checksum"))));
    } else {
      EXPECT_OK(status);
    }
  });
}

TEST_F(SyncMethodTest, RankWhoseParametersDifferIsFoundInTheNextRound) {
  const auto all = members(transports_, exchange(core::Method::kDense, {}));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.toy.view()));
    ASSERT_OK(member.toy.step(*member.method, rank == 0 ? 0.1F : 0.2F, false));
    EXPECT_THAT(member.toy.step(*member.method, 0.1F, false),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr(absl::StrCat("rank ", 1 - rank,
                                                " diverged: its digest of round 1 is"))));
  });
}

TEST(SyncBeginTest, RanksThatStartAlikeSendOnlyADigest) {
  constexpr int kWorldSize = 3;
  collective::InProcessNetwork network(kWorldSize);
  on_all_ranks(kWorldSize, [&](int rank) {
    const auto transport = network.endpoint(rank);
    Member member(*transport, exchange(core::Method::kLocal, {}));
    std::fill(member.toy.parameters().begin(), member.toy.parameters().end(), 0.5F);
    ASSERT_OK(member.method->begin(member.toy.view()));
    EXPECT_EQ(transport->bytes().sent, (kWorldSize - 1) * (collective::kFrameHeaderBytes + 8));
    // A transport that goes before the others are done is a lost rank to them.
    EXPECT_OK(transport->finish(absl::Now() + kTestDeadline));
  });
}

TEST(SyncAloneTest, NanInTheGradientsIsRefusedBeforeItIsSent) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  Member member(*transport, exchange(core::Method::kDense, {}));
  ASSERT_OK(member.method->begin(member.toy.view()));
  ASSERT_OK(member.toy.step(*member.method, 0.1F, false));
  member.toy.gradients()[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(member.method->reduce_gradients(member.toy.view()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("diverged at step 2: element 5 of the gradients of rank 0")));
}

TEST(SyncAloneTest, InfinityInTheParametersNamesTheStep) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  for (const core::Method method : {core::Method::kDense, core::Method::kLocal}) {
    core::ExchangeSpec spec = exchange(method, {});
    spec.rounds.inner_steps = 1;
    Member member(*transport, spec);
    ASSERT_OK(member.method->begin(member.toy.view()));
    ASSERT_OK(member.method->reduce_gradients(member.toy.view()));
    member.toy.parameters()[7] = std::numeric_limits<float>::infinity();
    EXPECT_THAT(member.method->end_step(member.toy.view(), false),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("diverged at step 1: element 7 of the parameters"),
                               HasSubstr("inf"))));
  }
}

TEST(SyncAloneTest, ViewOfAnotherSizeIsRefused) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  for (const core::Method method : {core::Method::kDense, core::Method::kLocal}) {
    Member member(*transport, exchange(method, {}));
    ModelView view = member.toy.view();
    view.parameters = view.parameters.first(300);
    EXPECT_THAT(member.method->begin(view),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("300 parameters")));
  }
}

TEST(SyncAloneTest, SpecOutsideItsRangesIsRefused) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  collective::Communicator communicator(*transport, kGeneration, kTestDeadline);
  const core::ExchangeSpec good = exchange(core::Method::kLocal, {});
  const auto expect_refused = [&](const core::ExchangeSpec& spec, const char* field) {
    EXPECT_THAT(make_sync_method(spec, toy_layout(), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  core::ExchangeSpec bad = good;
  bad.rounds.inner_steps = 0;
  expect_refused(bad, "inner_steps is 0");
  bad = good;
  bad.outer_rate = 0;
  expect_refused(bad, "outer_rate is 0");
  bad.outer_rate = std::nan("");
  expect_refused(bad, "outer_rate is nan");
  bad = good;
  bad.outer_momentum = 1;
  expect_refused(bad, "outer_momentum is 1");
  bad = good;
  bad.residual_decay = 1.5;
  expect_refused(bad, "residual_decay is 1.5");
  bad = good;
  bad.codec = {.kind = core::CodecKind::kQuantize, .bits = 3};
  EXPECT_EQ(make_sync_method(bad, toy_layout(), communicator).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(make_sync_method(good, {}, communicator),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no parameters")));
}

}  // namespace
}  // namespace laconic::sync
