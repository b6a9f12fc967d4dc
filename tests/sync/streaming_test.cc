#include "common/sync/streaming.h"

#include <gtest/gtest.h>

#include <cmath>

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
using ::testing::HasSubstr;

constexpr uint64_t kGeneration = 3;

core::Layout layout() {
  return {{{"first", 5, 7}, {"second", 3, 13}, {"third", 1, 41}}};  // 115 elements
}
constexpr size_t kElements = 115;

core::ExchangeSpec streaming(int fragments, int64_t inner_steps, int64_t delay_steps,
                             double keep = 0) {
  core::ExchangeSpec spec;
  spec.method = core::Method::kLocal;
  spec.rounds.inner_steps = inner_steps;
  spec.fragments = {.count = fragments, .delay_steps = delay_steps, .keep = keep};
  return spec;
}

core::ExchangeSpec with_codec(core::ExchangeSpec spec) {
  spec.codec = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
  spec.error_feedback = true;
  spec.residual_decay = 0.9;
  return spec;
}

// One rank whose steps subtract fixed numbers of its own from the parameters.
struct Member {
  Member(collective::Transport& transport, const core::ExchangeSpec& spec)
      : communicator(transport, kGeneration, kTestDeadline), rank(transport.rank()) {
    auto made = make_sync_method(spec, layout(), communicator);
    EXPECT_OK(made.status());
    method = *std::move(made);
  }
  ModelView view() { return {parameters, gradients}; }
  absl::Status step(bool last) {
    core::Random random(11, static_cast<uint64_t>(100 * rank + steps++));
    for (float& value : parameters) {
      value -= static_cast<float>(random.uniform() - 0.3);
    }
    return method->end_step(view(), last);
  }

  collective::Communicator communicator;
  int rank;
  int steps = 0;
  std::unique_ptr<SyncMethod> method;
  std::vector<float> parameters = std::vector<float>(kElements, 1);
  std::vector<float> gradients = std::vector<float>(kElements);
};

std::vector<std::unique_ptr<Member>> members(const Transports& transports,
                                             const core::ExchangeSpec& spec) {
  std::vector<std::unique_ptr<Member>> all;
  for (const auto& transport : transports) {
    all.push_back(std::make_unique<Member>(*transport, spec));
  }
  return all;
}

// All steps on all ranks; what rank 0 holds at the end.
std::vector<float> run(const core::ExchangeSpec& spec, int world_size, int steps) {
  collective::InProcessNetwork network(world_size);
  const Transports transports = laconic::testing::in_process_world(network, world_size);
  const auto all = members(transports, spec);
  on_all_ranks(world_size, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.view()));
    for (int step = 1; step <= steps; ++step) {
      ASSERT_OK(member.step(step == steps));
    }
  });
  return all[0]->parameters;
}

TEST(StreamingTest, OneFragmentWithoutDelayIsLocal) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  collective::Communicator communicator(*transport, kGeneration, kTestDeadline);
  ASSERT_OK_AND_ASSIGN(const auto method,
                       make_sync_method(streaming(1, 4, 0), layout(), communicator));
  EXPECT_EQ(dynamic_cast<Streaming*>(method.get()), nullptr);
}

// Rows are coded one by one, so cutting between tensors changes no bit of a round of all of them,
// which the last step is.
TEST(StreamingTest, RoundOfAllFragmentsIsARoundOfTheWholeModel) {
  EXPECT_EQ(run(with_codec(streaming(3, 9, 0)), 2, 2), run(with_codec(streaming(1, 9, 0)), 2, 2));
}

// t_p = floor(p H / F): with H = 6 and F = 3 the fragments go after the steps 2, 4, 6, 8, ...
TEST(StreamingTest, FragmentsTakeTurnsEveryInnerSteps) {
  const core::ExchangeSpec spec = streaming(3, 6, 0);
  collective::InProcessNetwork network(2);
  const Transports transports = laconic::testing::in_process_world(network, 2);
  const auto all = members(transports, spec);
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.view()));
    std::vector<int64_t> rounds;
    std::vector<uint64_t> digests = {member.method->digest()};
    for (int step = 1; step <= 9; ++step) {
      ASSERT_OK(member.step(step == 9));
      rounds.push_back(member.method->stats().rounds);
      // One fragment's turn at every second step, and at the last.
      EXPECT_EQ(member.method->digest() != digests.back(), step % 2 == 0 || step == 9);
      digests.push_back(member.method->digest());
      EXPECT_EQ(member.method->parameters_are_shared(), step == 9);
    }
    EXPECT_EQ(rounds, (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1, 2}));
  });
  EXPECT_EQ(all[0]->parameters, all[1]->parameters);
}

// arXiv 2501.18512, algorithm 2, by hand: sent at step 2, applied at step 3 with alpha = 1/4.
TEST(StreamingTest, WhatWasSentIsAppliedLaterAndMixedWithOnesOwn) {
  core::ExchangeSpec spec = streaming(1, 2, 1, 0.25);
  spec.outer_rate = 1;
  spec.outer_momentum = 0;
  collective::InProcessNetwork network(2);
  const Transports transports = laconic::testing::in_process_world(network, 2);
  const auto all = members(transports, spec);
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    std::vector<float>& theta = member.parameters;
    theta.assign(kElements, 0);
    ASSERT_OK(member.method->begin(member.view()));
    ASSERT_OK(member.method->end_step(member.view(), false));
    theta.assign(kElements, rank == 0 ? -1.0F : -3.0F);
    ASSERT_OK(member.method->end_step(member.view(), false));  // mean drift 2, under way
    EXPECT_EQ(theta, std::vector<float>(kElements, rank == 0 ? -1.0F : -3.0F));
    theta.assign(kElements, rank == 0 ? -2.0F : -6.0F);
    ASSERT_OK(member.method->end_step(member.view(), false));  // theta = -2 is applied
    EXPECT_EQ(theta, std::vector<float>(kElements, rank == 0 ? -2.0F : -3.0F));
    const auto shared = member.method->shared_parameters();
    EXPECT_EQ(std::vector<float>(shared.begin(), shared.end()),
              std::vector<float>(kElements, -2.0F));
  });
}

class StreamingWorldTest : public ::testing::TestWithParam<WorldKind> {};

TEST_P(StreamingWorldTest, SharedParametersAreTheSameBitsOnAllRanksAtEveryStep) {
  const Transports transports = GetParam().make(kGeneration);
  const auto all = members(transports, with_codec(streaming(3, 6, 2, 0.5)));
  const int world_size = GetParam().world_size;
  std::vector<std::vector<uint64_t>> digests(static_cast<size_t>(world_size));
  on_all_ranks(world_size, [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    Member& member = *all[r];
    ASSERT_OK(member.method->begin(member.view()));
    for (int step = 1; step <= 20; ++step) {
      ASSERT_OK(member.step(step == 20));
      digests[r].push_back(member.method->digest());
    }
  });
  for (size_t r = 1; r < all.size(); ++r) {
    EXPECT_EQ(digests[r], digests[0]);
    EXPECT_EQ(all[r]->parameters, all[0]->parameters);
  }
  const auto shared = all[0]->method->shared_parameters();
  EXPECT_EQ(std::vector<float>(shared.begin(), shared.end()), all[0]->parameters);
}
INSTANTIATE_TEST_SUITE_P(Worlds, StreamingWorldTest, ::testing::ValuesIn(all_worlds()),
                         laconic::testing::world_name);

// Rank 0 tells the others that it is busy, as while it evaluates, wherever it may.
TEST(StreamingTest, WordsBeforeAnExchangeCarryItsTag) {
  for (const int64_t delay_steps : {0, 1, 2}) {
    core::ExchangeSpec spec = with_codec(streaming(3, 9, delay_steps));
    spec.rounds.steps = 25;
    collective::InProcessNetwork network(2);
    const Transports transports = laconic::testing::in_process_world(network, 2);
    const auto all = members(transports, spec);
    int words = 0;
    on_all_ranks(2, [&](int rank) {
      Member& member = *all[static_cast<size_t>(rank)];
      ASSERT_OK(member.method->begin(member.view()));
      for (int step = 1; step <= 25; ++step) {
        ASSERT_OK(member.step(step == 25)) << "step " << step << ", delay " << delay_steps;
        if (rank == 0 && step < 25 && !member.method->shared_parameters().empty()) {
          ++words;
          ASSERT_OK(member.communicator.keep_alive(member.method->next_tag()));
        }
      }
    });
    EXPECT_GE(words, 8);
    EXPECT_EQ(all[0]->parameters, all[1]->parameters);
  }
}

TEST(StreamingTest, CommunicatorIsFreeAfterSettle) {
  collective::InProcessNetwork network(2);
  const Transports transports = laconic::testing::in_process_world(network, 2);
  const auto all = members(transports, streaming(1, 4, 3));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.view()));
    for (int step = 1; step <= 4; ++step) {
      ASSERT_OK(member.step(false));
    }
    ASSERT_OK(member.method->settle());
    ASSERT_OK(member.method->settle());
    EXPECT_OK(member.communicator
                  .all_gather(collective::Payload(std::vector<uint8_t>{1, 2}), 2, {.round = 77})
                  .status());
    for (int step = 5; step <= 8; ++step) {
      ASSERT_OK(member.step(step == 8));
    }
  });
  EXPECT_EQ(all[0]->parameters, all[1]->parameters);
}

TEST(StreamingTest, ExchangeThatFailsUnderWayFailsTheStepThatAppliesIt) {
  collective::InProcessNetwork network(2);
  const Transports transports = laconic::testing::in_process_world(network, 2);
  const auto all = members(transports, streaming(1, 4, 2));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.view()));
    for (int step = 1; step <= 3; ++step) {
      ASSERT_OK(member.step(false));
    }
  });
  Member& member = *all[0];
  const auto shared = member.method->shared_parameters();
  const std::vector<float> before(shared.begin(), shared.end());
  ASSERT_OK(member.step(false));  // Sends; the other rank never does.
  EXPECT_TRUE(member.method->shared_parameters().empty());
  transports[0]->abort(absl::CancelledError("the task was cancelled"));
  ASSERT_OK(member.step(false));
  EXPECT_THAT(member.step(false), StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
  EXPECT_EQ(std::vector<float>(shared.begin(), shared.end()), before);
}

TEST(StreamingTest, DestroyingItWhileAnExchangeIsUnderWayDoesNotHang) {
  collective::InProcessNetwork network(2);
  const Transports transports = laconic::testing::in_process_world(network, 2);
  auto all = members(transports, streaming(1, 2, 2));
  on_all_ranks(2, [&](int rank) {
    Member& member = *all[static_cast<size_t>(rank)];
    ASSERT_OK(member.method->begin(member.view()));
    ASSERT_OK(member.step(false));
  });
  ASSERT_OK(all[0]->step(false));
  transports[0]->abort(absl::CancelledError("the task was cancelled"));
  all.clear();
}

TEST(StreamingTest, SpecsOutsideTheirRangesAreRefused) {
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  collective::Communicator communicator(*transport, kGeneration, kTestDeadline);
  const auto expect_refused = [&](const core::ExchangeSpec& spec, const char* field) {
    EXPECT_THAT(make_sync_method(spec, layout(), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  expect_refused(streaming(4, 8, 0), "fragments is 4");
  expect_refused(streaming(2, 8, 5), "delay_steps is 5");
  expect_refused(streaming(2, 8, -1), "delay_steps is -1");
  expect_refused(streaming(2, 8, 1, 1.5), "keep is 1.5");
  core::ExchangeSpec rounds = streaming(2, 8, 1);
  rounds.rounds = {.steps = 10, .rounds = 2};
  expect_refused(rounds, "rounds is 2 with fragments");
}

}  // namespace
}  // namespace laconic::sync
