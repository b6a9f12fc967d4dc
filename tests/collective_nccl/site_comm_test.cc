#include "common/collective/nccl/site_comm.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/collective/world.h"
#include "tests/collective_nccl/fake_nccl.h"

namespace laconic::collective::nccl {
namespace {

using ::laconic::testing::FakeNccl;
using ::laconic::testing::FakeNcclNetwork;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Long enough for a loaded machine to get here, short enough for a test that waits it out.
constexpr absl::Duration kShort = absl::Milliseconds(100);

// The GPUs of one site.
class World {
 public:
  explicit World(int ranks) : id_(network_.new_id()), compute_(static_cast<size_t>(ranks)) {
    for (int rank = 0; rank < ranks; ++rank) {
      apis_.push_back(std::make_unique<FakeNccl>(network_));
    }
  }

  int ranks() const { return static_cast<int>(apis_.size()); }
  FakeNccl& api(int rank) { return *apis_[static_cast<size_t>(rank)]; }
  FakeNcclNetwork& network() { return network_; }
  Stream compute(int rank) { return &compute_[static_cast<size_t>(rank)]; }
  absl::StatusOr<std::unique_ptr<SiteComm>> connect(int rank,
                                                    absl::Duration deadline = kTestDeadline) {
    return SiteComm::connect(api(rank),
                             {.rank = rank, .ranks = ranks(), .id = id_, .deadline = deadline});
  }
  void next_generation() { id_ = network_.new_id(); }

  // Connects all ranks, runs the body on each, and ends in good order.
  void run(const std::function<void(int, SiteComm&)>& body) {
    on_all_ranks(ranks(), [&](int rank) {
      auto site = connect(rank);
      ASSERT_OK(site);
      body(rank, **site);
      EXPECT_OK((*site)->finish());
    });
    EXPECT_EQ(network_.misuses, 0);
    EXPECT_EQ(network_.aborts, 0);
  }

 private:
  FakeNcclNetwork network_;
  UniqueId id_;
  std::vector<CUstream_st> compute_;
  std::vector<std::unique_ptr<FakeNccl>> apis_;
};

float value_of(int rank, size_t i) {
  return static_cast<float>(rank + 1) * 0.5F + static_cast<float>(i);
}

class SiteCommTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, SiteCommTest, ::testing::Values(1, 2, 3, 7));

TEST_P(SiteCommTest, ReduceScatterGivesEachRankTheSumOfItsStretch) {
  World world(GetParam());
  const auto ranks = static_cast<size_t>(GetParam());
  world.run([&](int rank, SiteComm& site) {
    for (const size_t count : {0, 1, 13, 64, 65}) {
      std::vector<float> in(ranks * count);
      for (size_t i = 0; i < in.size(); ++i) {
        in[i] = value_of(rank, i);
      }
      std::vector<float> out(count);
      ASSERT_OK(site.reduce_scatter(in.data(), out.data(), static_cast<int64_t>(count),
                                    world.compute(rank)));
      ASSERT_OK(site.wait());
      for (size_t i = 0; i < count; ++i) {
        float sum = 0;
        for (int from = 0; from < GetParam(); ++from) {
          sum += value_of(from, static_cast<size_t>(rank) * count + i);
        }
        EXPECT_EQ(out[i], sum);
      }
    }
  });
}

TEST_P(SiteCommTest, AllGatherGivesAllRanksTheBytesOfAllInOrder) {
  World world(GetParam());
  world.run([&](int rank, SiteComm& site) {
    for (const int64_t bytes : {0, 1, 17, 256}) {
      const std::vector<uint8_t> in(static_cast<size_t>(bytes), static_cast<uint8_t>(rank + 1));
      std::vector<uint8_t> out(in.size() * static_cast<size_t>(GetParam()));
      ASSERT_OK(site.all_gather(in.data(), out.data(), bytes, world.compute(rank)));
      ASSERT_OK(site.wait());
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_EQ(out[i], i / in.size() + 1);
      }
    }
  });
}

TEST_P(SiteCommTest, ExchangeSendsEachPeerWhatIsMeantForIt) {
  constexpr int64_t kCapacity = 48;
  World world(GetParam());
  world.run([&](int rank, SiteComm& site) {
    std::vector<std::vector<uint8_t>> out;
    std::vector<std::vector<uint8_t>> in(static_cast<size_t>(GetParam()));
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (int peer = 0; peer < GetParam(); ++peer) {
      out.emplace_back(kCapacity, static_cast<uint8_t>(10 * rank + peer));
      in[static_cast<size_t>(peer)].resize(kCapacity);
    }
    for (int peer = 0; peer < GetParam(); ++peer) {
      if (peer != rank) {
        outgoing.push_back({peer, out[static_cast<size_t>(peer)].data()});
        incoming.push_back({peer, in[static_cast<size_t>(peer)].data()});
      }
    }
    ASSERT_OK(site.exchange(outgoing, incoming, kCapacity, world.compute(rank)));
    ASSERT_OK(site.wait());
    for (const Incoming& message : incoming) {
      const std::vector<uint8_t> due(kCapacity, static_cast<uint8_t>(10 * message.peer + rank));
      EXPECT_TRUE(in[static_cast<size_t>(message.peer)] == due);
    }
  });
}

TEST(SiteCommStreamTest, OperationsStandBetweenWhatTheComputeStreamDidAndDoes) {
  World world(1);
  world.run([&](int, SiteComm& site) {
    float value = 1;
    ASSERT_OK(site.reduce_scatter(&value, &value, 1, world.compute(0)));
    const auto& orders = world.api(0).orders;
    ASSERT_EQ(orders.size(), 2U);
    EXPECT_EQ(orders[0].first, world.compute(0));
    EXPECT_EQ(orders[1].second, world.compute(0));
    EXPECT_EQ(orders[0].second, orders[1].first);
    EXPECT_NE(orders[0].second, world.compute(0));
  });
}

TEST(SiteCommFailureTest, ConnectEndsAtTheDeadlineWhenARankStaysAway) {
  World world(2);
  EXPECT_THAT(world.connect(0, kShort).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("rank 0 of 2"), HasSubstr("100ms"))));
  EXPECT_EQ(world.network().aborts, 1);
  EXPECT_EQ(world.network().misuses, 0);
}

TEST(SiteCommFailureTest, WaitEndsAtTheDeadlineAndTheNextGenerationWorks) {
  World world(3);
  on_all_ranks(3, [&](int rank) {
    while (rank == 0 && world.network().inits < 2) {
      std::this_thread::yield();  // The others come first, so that connecting takes no time.
    }
    auto site = world.connect(rank, rank == 0 ? kShort : kTestDeadline);
    ASSERT_OK(site);
    if (rank != 0) {
      return;  // As if killed: its communicator is aborted by the destructor.
    }
    float in[3] = {1, 2, 3};
    float out = 0;
    ASSERT_OK((*site)->reduce_scatter(in, &out, 1, world.compute(rank)));
    EXPECT_EQ((*site)->wait().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ((*site)->all_gather(in, in, 0, world.compute(rank)).code(),
              absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ((*site)->finish().code(), absl::StatusCode::kDeadlineExceeded);
  });
  EXPECT_EQ(world.network().aborts, 3);
  EXPECT_EQ(world.network().misuses, 0);
  world.next_generation();
  on_all_ranks(3, [&](int rank) {
    auto site = world.connect(rank);
    ASSERT_OK(site);
    EXPECT_OK((*site)->finish());
  });
  EXPECT_EQ(world.network().aborts, 3);
}

TEST(SiteCommFailureTest, AbortFromAnotherThreadEndsAWaitWithNobodyInsideNccl) {
  World world(2);
  absl::Notification waits;
  std::vector<std::unique_ptr<SiteComm>> sites(2);
  on_all_ranks(2, [&](int rank) { sites[static_cast<size_t>(rank)] = *world.connect(rank); });
  std::thread other([&] {
    waits.WaitForNotification();
    sites[0]->abort(absl::AbortedError("generation 2 begins"));
    sites[0]->abort(absl::CancelledError("too late"));
  });
  uint8_t in = 1;
  uint8_t out[2] = {};
  ASSERT_OK(sites[0]->all_gather(&in, out, 1, world.compute(0)));
  waits.Notify();
  EXPECT_THAT(sites[0]->wait(), StatusIs(absl::StatusCode::kAborted, "generation 2 begins"));
  other.join();
  EXPECT_THAT(sites[0]->wait(), StatusIs(absl::StatusCode::kAborted, "generation 2 begins"));
  EXPECT_EQ(world.network().aborts, 1);
  EXPECT_EQ(world.network().misuses, 0);
}

TEST(SiteCommFailureTest, ErrorOfAnOperationUnderWayIsTold) {
  World world(2);
  std::vector<std::unique_ptr<SiteComm>> sites(2);
  on_all_ranks(2, [&](int rank) { sites[static_cast<size_t>(rank)] = *world.connect(rank); });
  world.network().break_all(Result::kRemoteError, "peer 10.0.0.2 closed the connection");
  EXPECT_THAT(
      sites[1]->wait(),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("rank 1 of 2"), HasSubstr("a peer is gone"),
                     HasSubstr("peer 10.0.0.2 closed the connection"), HasSubstr("NCCL_DEBUG"))));
  EXPECT_EQ(world.network().aborts, 1);
}

TEST(SiteCommFailureTest, EveryResultHasItsStatusCode) {
  const std::pair<Result, absl::StatusCode> table[] = {
      {Result::kUnhandledCudaError, absl::StatusCode::kInternal},
      {Result::kSystemError, absl::StatusCode::kUnavailable},
      {Result::kInternalError, absl::StatusCode::kInternal},
      {Result::kInvalidArgument, absl::StatusCode::kInvalidArgument},
      {Result::kInvalidUsage, absl::StatusCode::kInvalidArgument},
      {Result::kRemoteError, absl::StatusCode::kUnavailable},
  };
  for (const auto& [result, code] : table) {
    World world(1);
    ASSERT_OK_AND_ASSIGN(const auto site, world.connect(0));
    world.api(0).fail_next(result);
    float value = 0;
    EXPECT_EQ(site->reduce_scatter(&value, &value, 1, world.compute(0)).code(), code);
    EXPECT_EQ(site->wait().code(), code);
    world.next_generation();
    world.api(0).fail_next(result);
    EXPECT_EQ(world.connect(0).status().code(), code);
    EXPECT_EQ(world.network().aborts, 1);  // What was never made is not aborted.
  }
}

TEST(SiteCommFailureTest, ErrorWithinAGroupIsTold) {
  World world(1);
  ASSERT_OK_AND_ASSIGN(const auto site, world.connect(0));
  world.api(0).fail_next(Result::kInvalidArgument);
  uint8_t byte = 0;
  const std::vector<Outgoing> outgoing = {{0, &byte}};
  const std::vector<Incoming> incoming = {{0, &byte}};
  EXPECT_EQ(site->exchange(outgoing, incoming, 1, world.compute(0)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SiteCommFailureTest, FinishedCommunicatorIsOfNoMoreUse) {
  World world(1);
  ASSERT_OK_AND_ASSIGN(const auto site, world.connect(0));
  EXPECT_OK(site->finish());
  EXPECT_EQ(site->wait().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(site->finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(world.network().destroys, 1);
  EXPECT_EQ(world.network().aborts, 0);
}

// Ids of all sites at once, over the communicator that the ranks have anyway.
class SiteIdTest : public ::testing::Test {
 protected:
  std::vector<absl::StatusOr<UniqueId>> share(int world_size, int ranks_per_site,
                                              int failing = -1) {
    InProcessNetwork wires(world_size);
    const Transports transports = laconic::testing::in_process_world(wires, world_size);
    std::vector<absl::StatusOr<UniqueId>> ids(static_cast<size_t>(world_size));
    on_all_ranks(world_size, [&](int rank) {
      Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
      FakeNccl api(network_);
      if (rank == failing) {
        api.fail_next(Result::kSystemError);
      }
      ids[static_cast<size_t>(rank)] = share_site_id(api, communicator, ranks_per_site, {});
      if (!ids[static_cast<size_t>(rank)].ok()) {
        communicator.abort(absl::AbortedError("generation over"));
        transports[0]->abort(absl::AbortedError("generation over"));
        transports[1]->abort(absl::AbortedError("generation over"));
      }
    });
    return ids;
  }

  FakeNcclNetwork network_;
};

TEST_F(SiteIdTest, RanksOfASiteHaveOneIdAndSitesHaveDifferentOnes) {
  for (const auto& [world_size, ranks_per_site] : {std::pair{1, 1}, {4, 2}, {6, 3}, {7, 7}}) {
    const auto ids = share(world_size, ranks_per_site);
    for (int a = 0; a < world_size; ++a) {
      for (int b = 0; b < world_size; ++b) {
        ASSERT_OK(ids[static_cast<size_t>(a)]);
        EXPECT_EQ(*ids[static_cast<size_t>(a)] == *ids[static_cast<size_t>(b)],
                  a / ranks_per_site == b / ranks_per_site);
      }
    }
  }
}

TEST_F(SiteIdTest, FirstRankThatCannotMakeOneSaysWhy) {
  const auto ids = share(2, 2, /*failing=*/0);
  EXPECT_THAT(ids[0].status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("a call to the system failed")));
  EXPECT_FALSE(ids[1].ok());
}

TEST_F(SiteIdTest, IdOfAnotherLengthIsRefused) {
  InProcessNetwork wires(2);
  const Transports transports = laconic::testing::in_process_world(wires, 2);
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    if (rank == 0) {
      EXPECT_OK(communicator.all_gather(Payload(std::vector<uint8_t>(5)), 128, {}));
      return;
    }
    FakeNccl api(network_);
    EXPECT_THAT(share_site_id(api, communicator, 2, {}).status(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("NCCL id of 5 bytes")));
  });
}

}  // namespace
}  // namespace laconic::collective::nccl
