// The exchange on GPUs beside that of ranks whose vectors lie in host memory.
#include <gmock/gmock.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/collective/cuda/site_device_mean.h"
#include "common/core/payload_size.h"
#include "tests/collective_cuda/device_world.h"

namespace laconic::collective::cuda {
namespace {

using ::laconic::testing::communicators;
using ::laconic::testing::in_process_world;
using ::laconic::testing::layout_of;
using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kGather = core::Schedule::kAllGather;
constexpr auto kSharded = core::Schedule::kSharded;
constexpr auto kSites = core::Schedule::kHierarchical;

// Long enough for a loaded machine to get here, short enough for a test that waits it out.
constexpr absl::Duration kShort = absl::Seconds(1);

class MeanDeviceTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string why;
    auto machine = compress::cuda::make_test_machine(0, why);
    if (machine == nullptr) {
      GTEST_SKIP() << "NO GPU: " << why;
    }
    machine_ = std::make_unique<CountingMachine>(std::move(machine));
  }

  std::unique_ptr<CountingMachine> machine_;
};

// What ranks in host memory come to, round by round.
class HostWorld {
 public:
  explicit HostWorld(const Case& test_case)
      : case_(test_case),
        network_(case_.world_size),
        transports_(in_process_world(network_, case_.world_size)),
        communicators_(communicators(transports_)) {
    for (Communicator& communicator : communicators_) {
      auto made = sync::MeanExchange::make(case_.spec(), layout_of(case_.elements), communicator);
      EXPECT_OK(made.status());
      exchanges_.push_back(*std::move(made));
    }
  }

  Floats mean(int round) {
    Floats mean(static_cast<size_t>(case_.elements));
    on_all_ranks(case_.world_size, [&](int rank) {
      Floats values = vector_of(rank, round, case_.elements);
      ASSERT_OK(exchanges_[static_cast<size_t>(rank)]->mean(values, values));
      if (rank == 0) {
        mean = values;
      }
    });
    return mean;
  }

 private:
  const Case case_;
  InProcessNetwork network_;
  Transports transports_;
  std::vector<Communicator> communicators_;
  std::vector<std::unique_ptr<sync::MeanExchange>> exchanges_;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

// ---- Against ranks in host memory ------------------------------------------------------------

class MeanLikeHostDeviceTest : public MeanDeviceTest {};
INSTANTIATE_TEST_SUITE_P(Schedules, MeanLikeHostDeviceTest,
                         ::testing::Values(Case{"OneRank", kGather, kInt8, 1, 65},
                                           Case{"OneElement", kGather, kInt8, 3, 1},
                                           Case{"GatherInt4", kGather, kInt4, 2, 257},
                                           Case{"GatherTopK", kGather, kTopK, 3, 1009},
                                           Case{"GatherSevenSigns", kGather, kSignRows, 7, 211},
                                           Case{"ShardedOneElement", kSharded, kInt8, 3, 1},
                                           Case{"ShardedInt8", kSharded, kInt8, 3, 1009},
                                           Case{"ShardedTopK", kSharded, kTopK, 2, 1500},
                                           Case{"ShardedSevenInt4", kSharded, kInt4, 7, 911},
                                           Case{"StarInt8", core::Schedule::kStar, kInt8, 4, 401},
                                           Case{"TreeSigns", core::Schedule::kTree, kSignRows, 5,
                                                401},
                                           Case{"RingFloat32", core::Schedule::kRing, {}, 3, 401},
                                           Case{"TreeFloat32", core::Schedule::kTree, {}, 3, 401}),
                         name_of);

TEST_P(MeanLikeHostDeviceTest, MeansOfThreeRoundsAreTheSameBits) {
  HostWorld host(GetParam());
  DeviceWorld device(*machine_, GetParam());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(device.round(round), 0);
    ASSERT_TRUE(compress::cuda::same_bits(device.mean(), host.mean(round))) << round;
  }
}

// So the bytes are the same too, not only what they come to.
TEST_P(MeanLikeHostDeviceTest, RanksOfBothKindsMeetInOneExchange) {
  const Case& test_case = GetParam();
  HostWorld host(test_case);
  InProcessNetwork network(test_case.world_size);
  const Transports transports = in_process_world(network, test_case.world_size);
  std::vector<Communicator> all = communicators(transports);
  const auto bytes = static_cast<size_t>(test_case.elements) * sizeof(float);
  std::vector<Floats> results(all.size());
  on_all_ranks(test_case.world_size, [&](int rank) {
    Communicator& communicator = all[static_cast<size_t>(rank)];
    if (rank % 2 == 1) {
      ASSERT_OK_AND_ASSIGN(
          auto exchange,
          sync::MeanExchange::make(test_case.spec(), layout_of(test_case.elements), communicator));
      results[static_cast<size_t>(rank)] = vector_of(rank, 0, test_case.elements);
      ASSERT_OK(
          exchange->mean(results[static_cast<size_t>(rank)], results[static_cast<size_t>(rank)]));
      return;
    }
    ASSERT_OK_AND_ASSIGN(auto mean,
                         DeviceMean::make(test_case.options(rank), {.machine = machine_.get()}));
    ASSERT_OK_AND_ASSIGN(const DeviceMemory v, DeviceMemory::make(*machine_, bytes));
    ASSERT_OK_AND_ASSIGN(const DeviceMemory out, DeviceMemory::make(*machine_, bytes));
    Floats values = vector_of(rank, 0, test_case.elements);
    ASSERT_OK(machine_->copy_to_device(v.as<void>(), values.data(), bytes, nullptr));
    ASSERT_OK(mean->run({communicator}, v.as<float>(), {}, out.as<float>()));
    ASSERT_OK(machine_->copy_to_host(values.data(), out.as<void>(), bytes, nullptr));
    results[static_cast<size_t>(rank)] = values;
  });
  const Floats due = host.mean(0);
  for (const Floats& result : results) {
    EXPECT_TRUE(compress::cuda::same_bits(result, due));
  }
}

// ---- Sites -----------------------------------------------------------------------------------

class SiteMeanDeviceTest : public MeanDeviceTest {};
INSTANTIATE_TEST_SUITE_P(Sites, SiteMeanDeviceTest,
                         ::testing::Values(Case{"Sites1x1", kSites, kInt8, 1, 65, 1},
                                           Case{"Sites1x3", kSites, kInt8, 3, 401, 3},
                                           Case{"Sites2x1", kSites, kInt4, 2, 401, 1},
                                           Case{"Sites2x2", kSites, kInt8, 4, 1009, 2},
                                           Case{"Sites2x2OneElement", kSites, kInt8, 4, 1, 2},
                                           Case{"Sites2x2TopK", kSites, kTopK, 4, 1500, 2},
                                           Case{"Sites3x2SignRows", kSites, kSignRows, 6, 401, 2},
                                           Case{"Sites2x3LastShardsArePadding", kSites, kInt4, 6,
                                                64, 3},
                                           Case{"Sites7x1", kSites, kInt8, 7, 128, 1}),
                         name_of);

// The same from host memory: sums of each site's vectors in rank order, and for each shard a
// sharded exchange between the sites.
class SitesOnHost {
 public:
  explicit SitesOnHost(const Case& test_case) : case_(test_case) {
    for (int rank = 0; rank < case_.world_size; ++rank) {
      const ScheduledMeanOptions between = between_sites(case_.options(rank));
      if (between.world_size > 1 && between.layout.elements() > 0) {
        auto made = ScheduledMean::make(between);
        EXPECT_OK(made.status());
        means_.push_back(*std::move(made));
      } else {
        means_.push_back(nullptr);
      }
    }
  }

  Floats mean(int round) {
    Floats mean;
    for (int index = 0; index < case_.ranks_per_site; ++index) {
      const Floats shard = shard_mean(index, round);
      mean.insert(mean.end(), shard.begin(), shard.end());
    }
    return mean;
  }

 private:
  // Of this shard, summed over a site.
  Floats site_sum(int site, int index, int round) const {
    const int64_t shard = shard_elements(case_.elements, case_.ranks_per_site);
    const auto begin = static_cast<size_t>(std::min(case_.elements, index * shard));
    const auto end = static_cast<size_t>(std::min(case_.elements, (index + 1) * shard));
    Floats sum(end - begin);
    for (int member = 0; member < case_.ranks_per_site; ++member) {
      const Floats v = vector_of(site * case_.ranks_per_site + member, round, case_.elements);
      for (size_t i = begin; i < end; ++i) {
        sum[i - begin] = member == 0 ? v[i] : sum[i - begin] + v[i];
      }
    }
    return sum;
  }

  Floats shard_mean(int index, int round) {
    const int sites = case_.world_size / case_.ranks_per_site;
    Floats mean = site_sum(0, index, round);
    if (sites == 1) {
      const auto ranks = static_cast<float>(case_.world_size);
      std::transform(mean.begin(), mean.end(), mean.begin(), [&](float s) { return s / ranks; });
    } else if (!mean.empty()) {
      InProcessNetwork network(sites);
      const Transports transports = in_process_world(network, sites);
      std::vector<Communicator> all = communicators(transports);
      on_all_ranks(sites, [&](int site) {
        ScheduledMean& exchange = *means_[static_cast<size_t>(site * case_.ranks_per_site + index)];
        const Floats sum = site_sum(site, index, round);
        ASSERT_OK(exchange.run(all[static_cast<size_t>(site)], sum,
                               {.round = static_cast<uint64_t>(round)}));
        ASSERT_OK(exchange.commit().status());
        if (site == 0) {
          mean = testing::copy_of(exchange.mean());
        }
      });
    }
    return mean;
  }

  const Case case_;
  std::vector<std::unique_ptr<ScheduledMean>> means_;  // [P]
};

TEST_P(SiteMeanDeviceTest, MeansOfThreeRoundsAreThoseOfShardsExchangedBetweenSites) {
  SitesOnHost host(GetParam());
  DeviceWorld device(*machine_, GetParam());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(device.round(round), 0);
    ASSERT_TRUE(compress::cuda::same_bits(device.mean(), host.mean(round))) << round;
  }
  EXPECT_EQ(device.nccl().misuses, 0);
}

TEST_F(MeanDeviceTest, ExchangeWithinOneSiteTakesThreeKernelsAndOneCallOfNccl) {
  for (const core::CodecSpec& codec : {kInt4, kTopK}) {
    const Case test_case = {"", kGather, codec, 3, 1009, 3};
    HostWorld host(test_case);
    DeviceWorld device(*machine_, test_case);
    for (int round = 0; round < 2; ++round) {
      machine_->kernels = 0;
      device.nccl().operations = 0;
      ASSERT_EQ(device.round(round), 0);
      EXPECT_EQ(machine_->kernels, 3 * 3);
      EXPECT_EQ(device.nccl().operations, 3);
      EXPECT_TRUE(compress::cuda::same_bits(device.mean(), host.mean(round)));
    }
  }
}

// ---- Faults ----------------------------------------------------------------------------------

class MeanAbortDeviceTest : public MeanDeviceTest {};
INSTANTIATE_TEST_SUITE_P(Schedules, MeanAbortDeviceTest,
                         ::testing::Values(Case{"GatherTopK", kGather, kTopK, 3, 150},
                                           Case{"ShardedInt8", kSharded, kInt8, 3, 150},
                                           Case{"ShardedTopK", kSharded, kTopK, 2, 150},
                                           Case{"Sites2x2Int8", kSites, kInt8, 4, 150, 2},
                                           Case{"Sites2x2TopK", kSites, kTopK, 4, 150, 2}),
                         name_of);

TEST_P(MeanAbortDeviceTest, FaultAtEveryMessageLeavesNoTraceAndTheRoundCanBeTriedAgain) {
  DeviceWorld undisturbed(*machine_, GetParam());
  std::vector<Floats> due;
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(undisturbed.round(round, {.rank = 0}), 0);
    due.push_back(undisturbed.mean());
  }
  const int messages = undisturbed.messages();
  ASSERT_GT(messages, 0);
  for (const int failing : {0, GetParam().world_size - 1}) {
    for (int message = 0; message < messages; ++message) {
      SCOPED_TRACE(absl::StrCat("rank ", failing, " fails at message ", message));
      DeviceWorld job(*machine_, GetParam());
      ASSERT_EQ(job.round(0), 0);
      ASSERT_GE(job.round(1, {.rank = failing, .message = message}), 1);
      // Twice in a row: a retry may fail as well, and elsewhere.
      ASSERT_GE(job.round(1, {.rank = failing, .message = message / 2}), 1);
      ASSERT_EQ(job.round(1), 0);
      ASSERT_TRUE(compress::cuda::same_bits(job.mean(), due[1]));
      ASSERT_EQ(job.round(2), 0);
      ASSERT_TRUE(compress::cuda::same_bits(job.mean(), due[2]));
      ASSERT_EQ(job.nccl().misuses, 0);
    }
  }
}

TEST_F(MeanDeviceTest, RankOfASiteThatStaysAwayEndsTheRoundAtTheDeadlineOfNccl) {
  const Case test_case = {"", kSites, kInt8, 4, 150, 2};
  DeviceWorld undisturbed(*machine_, test_case);
  DeviceWorld job(*machine_, test_case);
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(undisturbed.round(round), 0);
  }
  ASSERT_EQ(job.round(0), 0);
  job.site_deadline = kShort;
  job.absent = 3;
  EXPECT_GE(job.round(1), 1);
  job.site_deadline = kTestDeadline;
  job.absent = -1;
  ASSERT_EQ(job.round(1), 0);
  EXPECT_TRUE(compress::cuda::same_bits(job.mean(), undisturbed.mean()));
}

TEST_F(MeanDeviceTest, FailedCallOfNcclLeavesNoTraceAndTheRoundCanBeTriedAgain) {
  for (const Case& test_case :
       {Case{"", kGather, kTopK, 3, 150, 3}, Case{"", kSites, kInt8, 4, 150, 2},
        Case{"", kSites, kInt8, 2, 150, 2}}) {
    DeviceWorld undisturbed(*machine_, test_case);
    DeviceWorld job(*machine_, test_case);
    for (int round = 0; round < 2; ++round) {
      ASSERT_EQ(undisturbed.round(round), 0);
    }
    ASSERT_EQ(job.round(0), 0);
    const int calls = test_case.schedule == kGather ? 1 : 2;
    for (int call = 0; call < calls; ++call) {
      ASSERT_GE(job.round(1, {.rank = 1, .nccl_call = call}), 1);
    }
    ASSERT_EQ(job.round(1), 0);
    EXPECT_TRUE(compress::cuda::same_bits(job.mean(), undisturbed.mean()));
    EXPECT_EQ(job.nccl().misuses, 0);
  }
}

// ---- Bad input -------------------------------------------------------------------------------

// One rank alone.
class LoneRank {
 public:
  LoneRank(Machine& machine, const Case& test_case)
      : machine_(machine),
        network_(1),
        transport_(network_.endpoint(0)),
        communicator_(*transport_, testing::kGeneration, kTestDeadline),
        elements_(test_case.elements) {
    auto made = DeviceMean::make(test_case.options(0), {.machine = &machine});
    EXPECT_OK(made.status());
    mean_ = *std::move(made);
  }

  absl::StatusOr<Floats> run(Floats v) {
    const size_t bytes = v.size() * sizeof(float);
    LACONIC_ASSIGN_OR_RETURN(const DeviceMemory in, DeviceMemory::make(machine_, bytes));
    LACONIC_ASSIGN_OR_RETURN(const DeviceMemory out, DeviceMemory::make(machine_, bytes));
    LACONIC_RETURN_IF_ERROR(machine_.copy_to_device(in.as<void>(), v.data(), bytes, nullptr));
    LACONIC_RETURN_IF_ERROR(mean_->run({communicator_}, in.as<float>(), {}, out.as<float>()));
    LACONIC_RETURN_IF_ERROR(mean_->commit());
    LACONIC_RETURN_IF_ERROR(machine_.copy_to_host(v.data(), out.as<void>(), bytes, nullptr));
    return v;
  }

 private:
  Machine& machine_;
  InProcessNetwork network_;
  std::unique_ptr<Transport> transport_;
  Communicator communicator_;
  const int64_t elements_;
  std::unique_ptr<DeviceMean> mean_;
};

TEST_F(MeanDeviceTest, ElementThatIsNotFiniteIsNamedAndNotSent) {
  LoneRank rank(*machine_, {"", kGather, kInt8, 1, 100});
  Floats v = vector_of(0, 0, 100);
  v[41] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(rank.run(v).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 41 ")));
}

TEST_F(MeanDeviceTest, RefusesWhatHasNoKernelsAndNamesTheCpu) {
  const auto make = [&](const ScheduledMeanOptions& options) {
    return DeviceMean::make(options, {.machine = machine_.get()}).status();
  };
  Case natural = {"", kGather, {.kind = core::CodecKind::kNatural}, 2, 100};
  EXPECT_THAT(make(natural.options(0)),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("use the codec of the CPU")));
  for (const core::Schedule schedule : {kGather, kSharded, kSites}) {
    ScheduledMeanOptions half = Case{"", schedule, kInt8, 4, 100, 2}.options(0);
    half.half_residuals = true;
    EXPECT_THAT(make(half), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("bfloat16")));
    EXPECT_THAT(make(Case{"", schedule, {}, 4, 100, 2}.options(0)),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("use the CPU")));
  }
  EXPECT_THAT(make(Case{"", kSites, kInt8, 4, 100, 3}.options(0)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must divide")));
  EXPECT_THAT(make(Case{"", core::Schedule::kRing, kInt8, 4, 100}.options(0)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("takes no codec")));
}

TEST_F(MeanDeviceTest, RefusesLinksOfOtherRanks) {
  InProcessNetwork network(2);
  const Transports transports = in_process_world(network, 2);
  std::vector<Communicator> all = communicators(transports);
  ASSERT_OK_AND_ASSIGN(auto mean, DeviceMean::make(Case{"", kGather, kInt8, 2, 10}.options(0),
                                                   {.machine = machine_.get()}));
  EXPECT_THAT(mean->run({all[1]}, nullptr, {}, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("rank 0 of 2"), HasSubstr("rank 1 of 2"))));
  ASSERT_OK_AND_ASSIGN(mean, DeviceMean::make(Case{"", kSites, kInt8, 2, 10, 2}.options(0),
                                              {.machine = machine_.get()}));
  EXPECT_THAT(mean->run({all[0]}, nullptr, {}, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("communicator is none")));
}

// Rank 1 sends these bytes in place of its payload.
absl::Status gather_beside(Machine& machine, const Case& test_case, std::vector<uint8_t> bytes,
                           int& blamed) {
  InProcessNetwork network(2);
  const Transports transports = in_process_world(network, 2);
  std::vector<Communicator> all = communicators(transports);
  absl::Status status;
  on_all_ranks(2, [&](int rank) {
    Communicator& communicator = all[static_cast<size_t>(rank)];
    if (rank == 1) {
      const auto bytes_max = static_cast<int64_t>(1) << 20;
      communicator.all_gather(Payload(bytes), bytes_max, {}).IgnoreError();
      return;
    }
    const auto size = static_cast<size_t>(test_case.elements) * sizeof(float);
    auto mean = DeviceMean::make(test_case.options(0), {.machine = &machine});
    auto v = DeviceMemory::make(machine, size);
    auto out = DeviceMemory::make(machine, size);
    ASSERT_OK(machine.fill(v->as<void>(), 0, size, nullptr));
    status = (*mean)->run({communicator}, v->as<float>(), {}, out->as<float>());
    blamed = communicator.failed_rank();
    transports[1]->abort(absl::AbortedError("over"));
  });
  return status;
}

TEST_F(MeanDeviceTest, HostilePayloadIsRefusedAndItsSenderNamed) {
  for (const core::CodecSpec& codec : {kInt8, kTopK}) {
    const Case test_case = {"", kGather, codec, 2, 100};
    const int64_t size = core::payload_bytes_max(codec, layout_of(100));
    for (const int64_t bytes : {int64_t{0}, int64_t{1}, size - 1, size}) {
      SCOPED_TRACE(absl::StrCat("kind ", static_cast<int>(codec.kind), ", ", bytes, " bytes"));
      int blamed = -1;
      EXPECT_THAT(gather_beside(*machine_, test_case,
                                std::vector<uint8_t>(static_cast<size_t>(bytes), 0xFF), blamed),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr("rank 1")));
      EXPECT_EQ(blamed, 1);
    }
  }
}

}  // namespace
}  // namespace laconic::collective::cuda
