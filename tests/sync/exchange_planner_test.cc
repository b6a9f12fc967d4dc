#include "common/sync/exchange_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "common/core/schedule_choice.h"
#include "tests/collective/world.h"
#include "tests/testing/link_proxy.h"
#include "tests/testing/status_matchers.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::in_process_world;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::HasSubstr;

constexpr uint64_t kGeneration = 1;

std::vector<core::CodecSpec> all_codecs() {
  using core::CodecKind;
  return {{},
          {.kind = CodecKind::kQuantize, .bits = 8},
          {.kind = CodecKind::kQuantize, .bits = 4},
          {.kind = CodecKind::kTopK, .bits = 4, .density = 0.01}};
}

core::ExchangeSpec asked(double error_budget) {
  core::ExchangeSpec spec;
  spec.candidates = all_codecs();
  spec.error_budget = error_budget;
  return spec;
}

core::Layout layout_of(int64_t elements) {
  return {{{"weight", 1, elements}}};
}

// What each rank planned.
std::vector<PlannedExchange> plans(const Transports& transports, const core::ExchangeSpec& spec,
                                   int64_t elements) {
  std::vector<PlannedExchange> all(transports.size());
  on_all_ranks(static_cast<int>(transports.size()), [&](int rank) {
    const auto at = static_cast<size_t>(rank);
    collective::Communicator communicator(*transports[at], kGeneration, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(all[at], plan_exchange(spec, layout_of(elements), communicator));
  });
  return all;
}

TEST(ExchangePlannerTest, AllRanksTakeTheSameWayInEveryWorld) {
  for (const int world_size : {2, 3, 7}) {
    collective::InProcessNetwork network(world_size);
    const std::vector<PlannedExchange> all =
        plans(in_process_world(network, world_size), asked(0.1), 100'003);
    for (const PlannedExchange& one : all) {
      EXPECT_EQ(one.spec.codec, all[0].spec.codec);
      EXPECT_EQ(one.spec.schedule, all[0].spec.schedule);
      EXPECT_EQ(one.plan.explanation, all[0].plan.explanation);
      EXPECT_NE(one.spec.schedule, core::Schedule::kAuto);
    }
    EXPECT_GT(all[0].link.bytes_per_second, 0);
    EXPECT_GT(all[0].candidates[1].cost.error, 1e-6);
    EXPECT_EQ(all[0].candidates[0].cost.error, 0);
    EXPECT_EQ(all[0].candidates[0].cost.payload_bytes, 4 * 100'003);
  }
}

TEST(ExchangePlannerTest, OneElementCanBePlanned) {
  collective::InProcessNetwork network(2);
  const std::vector<PlannedExchange> all = plans(in_process_world(network, 2), asked(2), 1);
  EXPECT_EQ(all[0].spec.codec, all[1].spec.codec);
}

TEST(ExchangePlannerTest, AloneNothingIsMeasuredAndNothingCompressed) {
  collective::InProcessNetwork network(1);
  const std::vector<PlannedExchange> all = plans(in_process_world(network, 1), asked(2), 1000);
  EXPECT_EQ(all[0].spec.codec.kind, core::CodecKind::kNone);
  EXPECT_EQ(all[0].spec.schedule, core::Schedule::kAuto);
}

TEST(ExchangePlannerTest, ScheduleOfTheJobIsKept) {
  collective::InProcessNetwork network(3);
  core::ExchangeSpec spec = asked(2);
  spec.schedule = core::Schedule::kRing;
  const std::vector<PlannedExchange> all = plans(in_process_world(network, 3), spec, 5000);
  EXPECT_EQ(all[0].spec.schedule, core::Schedule::kRing);
  EXPECT_EQ(all[0].spec.codec.kind, core::CodecKind::kNone);
}

TEST(ExchangePlannerTest, BudgetThatNothingKeepsIsRefused) {
  collective::InProcessNetwork network(2);
  const Transports transports = in_process_world(network, 2);
  core::ExchangeSpec spec = asked(1e-9);
  spec.candidates.erase(spec.candidates.begin());
  on_all_ranks(2, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], kGeneration,
                                          kTestDeadline);
    EXPECT_THAT(plan_exchange(spec, layout_of(1000), communicator),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("raise the budget")));
  });
}

// Two ranks whose links carry 2 MB/s after 5 ms.
TEST(ExchangePlannerTest, ThinLinkIsMeasuredAndGetsACompressedWay) {
  std::vector<std::unique_ptr<collective::GrpcTransport>> ranks;
  std::vector<std::unique_ptr<testing::LinkProxy>> links;
  std::vector<std::string> addresses;
  for (int rank = 0; rank < 2; ++rank) {
    ASSERT_OK_AND_ASSIGN(auto made,
                         collective::GrpcTransport::create(testing::grpc_options(rank, 2)));
    const testing::LinkFaults thin{.delay = absl::Milliseconds(5), .bytes_per_s = 2'000'000};
    links.push_back(std::make_unique<testing::LinkProxy>(
        testing::LinkOptions{.target = made->address(), .to_target = thin, .from_target = thin}));
    addresses.push_back(links.back()->address());
    ranks.push_back(std::move(made));
  }
  Transports transports;
  on_all_ranks(2, [&](int rank) {
    ASSERT_OK(ranks[static_cast<size_t>(rank)]->connect(kGeneration, addresses,
                                                        absl::Now() + kTestDeadline));
  });
  for (auto& rank : ranks) {
    transports.push_back(std::move(rank));
  }
  const std::vector<PlannedExchange> all = plans(transports, asked(0.1), 1'000'000);
  EXPECT_EQ(all[0].spec.codec.kind, core::CodecKind::kQuantize);
  EXPECT_EQ(all[0].spec.codec.bits, 4);
  EXPECT_GE(all[0].link.latency_seconds, 4.9e-3);
  EXPECT_LT(all[0].link.bytes_per_second, 4e6);
  EXPECT_GT(all[0].link.bytes_per_second, 0.5e6);
}

}  // namespace
}  // namespace laconic::sync
