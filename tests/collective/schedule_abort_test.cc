// A fault at every message of every schedule: the exchange leaves no trace, and the round tried
// again in the next generation gives the bits of a run without a fault.
#include <atomic>

#include "absl/strings/str_cat.h"
#include "common/collective/scheduled_mean.h"
#include "common/core/random.h"
#include "tests/collective/failing_transport.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::FailingTransport;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::Transports;

struct Case {
  const char* name;
  core::Schedule schedule;
  core::CodecSpec codec;
  int world_size;
  int64_t columns;
  int ranks_per_site = 1;
};

std::ostream& operator<<(std::ostream& out, const Case& test_case) {
  return out << test_case.name;
}

constexpr core::CodecSpec kNone = {};
constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8};
constexpr core::CodecSpec kSignRows = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = 0.1};

const Case kCases[] = {
    {"ShardedInt8", core::Schedule::kSharded, kInt8, 3, 40},
    {"ShardedSignRows", core::Schedule::kSharded, kSignRows, 4, 40},
    {"ShardedTopK", core::Schedule::kSharded, kTopK, 3, 40},
    {"ShardedInt8InTiles", core::Schedule::kSharded, kInt8, 2, 30'000},
    {"ShardedFloat32", core::Schedule::kSharded, kNone, 3, 40},
    {"StarInt8", core::Schedule::kStar, kInt8, 4, 40},
    {"AllGatherTopK", core::Schedule::kAllGather, kTopK, 3, 40},
    {"RingFloat32InTiles", core::Schedule::kRing, kNone, 3, 6'000},
    {"TreeInt8", core::Schedule::kTree, kInt8, 5, 40},
    {"TreeFloat32", core::Schedule::kTree, kNone, 3, 40},
    {"Sites2x2Int8", core::Schedule::kHierarchical, kInt8, 4, 40, 2},
    {"Sites2x2TopKInTiles", core::Schedule::kHierarchical, kTopK, 4, 108'000, 2},
    {"Sites3x2SignRows", core::Schedule::kHierarchical, kSignRows, 6, 40, 2},
    {"Sites2x3Float32", core::Schedule::kHierarchical, kNone, 6, 40, 3},
    {"Sites7x1Int8", core::Schedule::kHierarchical, kInt8, 7, 8, 1},
    {"Sites1x3Int8", core::Schedule::kHierarchical, kInt8, 3, 40, 3},
};

// All ranks of a job, which outlive its generations.
class Job {
 public:
  explicit Job(const Case& test_case) : case_(test_case) {
    for (int rank = 0; rank < case_.world_size; ++rank) {
      auto made =
          ScheduledMean::make({.rank = rank,
                               .world_size = case_.world_size,
                               .schedule = case_.schedule,
                               .codec = case_.codec,
                               .layout = {{{.name = "w", .rows = 10, .columns = case_.columns}}},
                               .ranks_per_site = case_.ranks_per_site,
                               .error_feedback = case_.codec.lossy(),
                               .residual_decay = 0.9});
      EXPECT_OK(made.status());
      means_.push_back(*std::move(made));
    }
  }

  // One round in a generation of its own. fails_at: the operation at which `failing` fails, or -1.
  // Returns how many ranks ended with an error; all are rolled back if any did.
  int round(int round, int failing, int fails_at) {
    ++generation_;
    InProcessNetwork network(case_.world_size);
    Transports transports;
    for (int rank = 0; rank < case_.world_size; ++rank) {
      auto real = network.endpoint(rank);
      if (rank == failing) {
        transports.push_back(std::make_unique<FailingTransport>(std::move(real), fails_at));
      } else {
        transports.push_back(std::move(real));
      }
    }
    std::atomic<int> errors = 0;
    on_all_ranks(case_.world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      Communicator communicator(*transports[r], generation_, kTestDeadline);
      const absl::Status status = means_[r]->run(communicator, vector_of(rank, round),
                                                 {.round = static_cast<uint64_t>(round)});
      if (!status.ok()) {
        ++errors;
        // As the coordinator does: the generation is over for all.
        for (const auto& transport : transports) {
          transport->abort(absl::AbortedError("generation over"));
        }
      }
    });
    for (const auto& mean : means_) {
      // A rank that had got everything before the fault reached it has not committed either.
      if (errors > 0) {
        mean->rollback();
      } else {
        EXPECT_OK(mean->commit().status());
      }
    }
    return errors;
  }

  std::vector<float> mean() const {
    for (const auto& mean : means_) {
      EXPECT_TRUE(std::ranges::equal(mean->mean(), means_[0]->mean()));
    }
    return {means_[0]->mean().begin(), means_[0]->mean().end()};
  }

  // What both stages of all ranks owe, in units of a rank's vector.
  double owed() const {
    double sum = 0;
    for (const auto& mean : means_) {
      sum += mean->owed_stage_1() + case_.world_size * mean->owed_stage_2();
    }
    return sum;
  }

  int operations(int rank) const {
    const ScheduledMean& mean = *means_[static_cast<size_t>(rank)];
    return static_cast<int>(mean.messages_sent() + mean.messages_received());
  }

 private:
  std::vector<float> vector_of(int rank, int round) const {
    core::Random random(31, static_cast<uint64_t>(100 * rank + round));
    std::vector<float> values(static_cast<size_t>(10 * case_.columns));
    for (float& value : values) {
      value = static_cast<float>(random.uniform() * 2 - 1);
    }
    return values;
  }

  const Case case_;
  std::vector<std::unique_ptr<ScheduledMean>> means_;
  uint64_t generation_ = 0;
};

class ScheduleAbortTest : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Schedules, ScheduleAbortTest, ::testing::ValuesIn(kCases),
                         [](const auto& made_for) { return std::string(made_for.param.name); });

TEST_P(ScheduleAbortTest, FaultAtEveryMessageLeavesNoTraceAndTheRoundCanBeTriedAgain) {
  Job undisturbed(GetParam());
  std::vector<std::vector<float>> expected;
  std::vector<double> owed;
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(undisturbed.round(round, -1, -1), 0);
    expected.push_back(undisturbed.mean());
    owed.push_back(undisturbed.owed());
  }
  // Long vectors take time: there one rank stands for the others, which do the same.
  const int ranks = GetParam().columns > 100'000 ? 1 : GetParam().world_size;
  for (int failing = 0; failing < ranks; ++failing) {
    for (int index = 0; index < undisturbed.operations(failing); ++index) {
      SCOPED_TRACE(absl::StrCat("rank ", failing, " fails at message ", index));
      Job job(GetParam());
      ASSERT_EQ(job.round(0, -1, -1), 0);
      ASSERT_GE(job.round(1, failing, index), 1);
      // Twice in a row: a retry may fail as well, and elsewhere.
      ASSERT_GE(job.round(1, failing, index / 2), 1);
      ASSERT_EQ(job.round(1, -1, -1), 0);
      ASSERT_TRUE(job.mean() == expected[1]);
      ASSERT_EQ(job.owed(), owed[1]);
      ASSERT_EQ(job.round(2, -1, -1), 0);
      ASSERT_TRUE(job.mean() == expected[2]);
      ASSERT_EQ(job.owed(), owed[2]);
    }
  }
}

// Rank 0 of the sharded schedule fails before it has received anything, so nobody can finish.
TEST(ScheduleAbortEarlyTest, AllRanksEndWithAnError) {
  Job job(kCases[0]);
  EXPECT_EQ(job.round(0, 0, 0), kCases[0].world_size);
}

}  // namespace
}  // namespace laconic::collective
