#include "common/collective/schedule.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/collective/site_schedule.h"
#include "common/core/partition.h"
#include "common/core/payload_size.h"

namespace laconic::collective {
namespace {

using RankSet = uint32_t;  // Bit r: rank r's values are in the sum.

// One rank's steps, for every rank.
using World = std::vector<StepList>;

World make_world(int world_size, const std::function<StepList(int)>& make) {
  World world;
  for (int rank = 0; rank < world_size; ++rank) {
    world.push_back(make(rank));
  }
  return world;
}

// What one rank knows of one part.
struct PartState {
  RankSet sum = 0;
  std::map<int, RankSet> received;  // By origin.
  std::map<int, int> tiles;         // By origin, of sums; of the result under -1.
  bool finished = false;
  bool result = false;
};

// Runs all ranks step by step, without values: who has added up whom.
class Simulation {
 public:
  explicit Simulation(const World& world) : world_(world), states_(world.size()) {
    for (size_t rank = 0; rank < world.size(); ++rank) {
      states_[rank].resize(static_cast<size_t>(world[rank].parts));
      for (PartState& state : states_[rank]) {
        state.sum = RankSet{1} << rank;
      }
    }
  }

  void run() {
    for (size_t s = 0; s < world_[0].steps.size(); ++s) {
      for (int rank = 0; rank < size(); ++rank) {
        ASSERT_EQ(of(rank).steps.size(), world_[0].steps.size());
        for (const Message& message : of(rank).steps[s].sends) {
          ASSERT_NO_FATAL_FAILURE(send(rank, message));
        }
      }
      for (int rank = 0; rank < size(); ++rank) {
        for (const Message& message : of(rank).steps[s].receives) {
          ASSERT_NO_FATAL_FAILURE(receive(rank, message));
        }
        for (const int part : of(rank).steps[s].adds) {
          add(state(rank, part));
        }
        for (const Finish& finish : of(rank).steps[s].finishes) {
          EXPECT_EQ(state(rank, finish.part).sum, all());
          EXPECT_FALSE(state(rank, finish.part).finished);
          state(rank, finish.part).finished = true;
          state(rank, finish.part).result = true;
        }
      }
    }
    for (const auto& [way, queue] : queues_) {
      EXPECT_TRUE(queue.empty()) << "from " << way.first << " to " << way.second;
    }
    for (int rank = 0; rank < size(); ++rank) {
      for (int part = 0; part < of(rank).parts; ++part) {
        EXPECT_TRUE(state(rank, part).result) << "rank " << rank << " part " << part;
        EXPECT_TRUE(state(rank, part).received.empty());
      }
    }
  }

  int messages_sent(int rank) const { return count_at(rank); }
  // Frames in which `rank` got the sum that `origin` made of a part (-1: the result).
  int tiles_received(int rank, int part, int origin) { return state(rank, part).tiles[origin]; }
  int times_finished(int part) {
    int times = 0;
    for (int rank = 0; rank < size(); ++rank) {
      times += state(rank, part).finished ? 1 : 0;
    }
    return times;
  }

 private:
  struct Sent {
    Message message;
    RankSet sum = 0;
  };

  int size() const { return static_cast<int>(world_.size()); }
  const StepList& of(int rank) const { return world_[static_cast<size_t>(rank)]; }
  PartState& state(int rank, int part) {
    return states_[static_cast<size_t>(rank)][static_cast<size_t>(part)];
  }
  RankSet all() const { return (RankSet{1} << size()) - 1; }
  int count_at(int rank) const {
    size_t count = 0;
    for (const Step& step : of(rank).steps) {
      count += step.sends.size();
    }
    return static_cast<int>(count);
  }

  void send(int rank, const Message& message) {
    ASSERT_NE(message.peer, rank);
    PartState& own = state(rank, message.part);
    RankSet sum = own.sum;
    if (message.content == Content::kResult) {
      ASSERT_TRUE(own.result) << "rank " << rank << " sends a result that it has not";
    } else if (message.origin != rank) {
      ASSERT_TRUE(own.received.contains(message.origin));
      sum = own.received[message.origin];
    }
    queues_[{rank, message.peer}].push_back({message, sum});
  }

  void receive(int rank, const Message& wanted) {
    std::deque<Sent>& queue = queues_[{wanted.peer, rank}];
    ASSERT_FALSE(queue.empty()) << "rank " << rank << " would wait for rank " << wanted.peer;
    const Sent sent = queue.front();
    queue.pop_front();
    Message expected = wanted;
    expected.peer = rank;
    ASSERT_EQ(sent.message, expected) << "from rank " << wanted.peer << " to rank " << rank;
    PartState& own = state(rank, wanted.part);
    int& tiles = own.tiles[wanted.content == Content::kResult ? -1 : wanted.origin];
    EXPECT_EQ(tiles++, wanted.tile) << "rank " << rank << " part " << wanted.part;
    if (wanted.content == Content::kResult) {
      EXPECT_EQ(own.result, wanted.tile > 0) << "rank " << rank << " part " << wanted.part;
      own.result = true;
      return;
    }
    EXPECT_EQ(own.received.contains(wanted.origin), wanted.tile > 0);
    own.received[wanted.origin] = sent.sum;
  }

  static void add(PartState& own) {
    for (const auto& [origin, sum] : own.received) {
      EXPECT_EQ(own.sum & sum, 0U) << "values of a rank are added twice";
      own.sum |= sum;
    }
    own.received.clear();
  }

  const World& world_;
  std::vector<std::vector<PartState>> states_;
  std::map<std::pair<int, int>, std::deque<Sent>> queues_;
};

std::vector<int> owners_of(const std::vector<core::Part>& parts) {
  std::vector<int> owners;
  for (const core::Part& part : parts) {
    owners.push_back(part.owner);
  }
  return owners;
}

std::vector<core::Part> parts_of(const core::CodecSpec& spec, int64_t elements, int owners) {
  return core::cut_into_parts(spec, {{{.name = "w", .rows = 1, .columns = elements}}}, owners);
}

constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8};

class ScheduleTest : public ::testing::TestWithParam<int> {
 protected:
  int world_size() const { return GetParam(); }
  // Every rank ends with every result, and each part is summed up completely by `times` ranks.
  void expect_mean(const World& world, int times) {
    Simulation simulation(world);
    ASSERT_NO_FATAL_FAILURE(simulation.run());
    for (int part = 0; part < world[0].parts; ++part) {
      EXPECT_EQ(simulation.times_finished(part), times);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Worlds, ScheduleTest, ::testing::Range(1, 18));

TEST_P(ScheduleTest, AllGatherAddsEveryRankOnceOnEveryRank) {
  for (const int parts : {1, 2, 5, 11}) {
    const World world = make_world(
        world_size(), [&](int rank) { return all_gather_schedule(rank, world_size(), parts); });
    expect_mean(world, world_size());
    EXPECT_EQ(Simulation(world).messages_sent(0), parts * (world_size() - 1));
  }
}

TEST_P(ScheduleTest, ShardedAddsEveryRankOnceAtTheOwner) {
  // Fewer elements than ranks, odd sizes, and so many tiles that the lag is at its largest.
  for (const int64_t elements : {1, 3, 17, 1001, 300'007, 12'000'001}) {
    const std::vector<int> owners = owners_of(parts_of(kInt8, elements, world_size()));
    for (const Form form : {Form::kEncoded, Form::kFloat32}) {
      expect_mean(
          make_world(world_size(),
                     [&](int rank) { return sharded_schedule(rank, world_size(), owners, form); }),
          1);
    }
  }
}

TEST_P(ScheduleTest, ShardedLetsOwnersHaveUnequallyManyParts) {
  std::vector<int> owners;
  for (int part = 0; part < 40; ++part) {
    owners.push_back(part * part % world_size());
  }
  expect_mean(make_world(world_size(),
                         [&](int rank) {
                           return sharded_schedule(rank, world_size(), owners, Form::kEncoded);
                         }),
              1);
}

TEST_P(ScheduleTest, StarAddsEveryRankOnceAtTheAnchor) {
  const std::vector<int> owners(7, world_size() / 2);
  const World world = make_world(world_size(), [&](int rank) {
    return sharded_schedule(rank, world_size(), owners, Form::kEncoded);
  });
  expect_mean(world, 1);
  for (int rank = 0; rank < world_size(); ++rank) {
    EXPECT_EQ(Simulation(world).messages_sent(rank),
              rank == owners[0] ? 7 * (world_size() - 1) : 7);
  }
}

TEST_P(ScheduleTest, RingAddsEveryRankOnceOnItsWay) {
  for (const int tiles : {1, 2, 3, 9}) {
    const World world = make_world(
        world_size(), [&](int rank) { return ring_schedule(rank, world_size(), tiles); });
    expect_mean(world, 1);
    for (int rank = 0; rank < world_size(); ++rank) {
      EXPECT_EQ(Simulation(world).messages_sent(rank), 2 * (world_size() - 1) * tiles);
    }
  }
}

TEST_P(ScheduleTest, HalvingAddsEveryRankOnce) {
  for (const int tiles : {1, 3}) {
    const World world = make_world(
        world_size(), [&](int rank) { return halving_schedule(rank, world_size(), tiles); });
    expect_mean(world, 1);
    const int chunks = halving_chunks(world_size());
    const int extra = world_size() - chunks;
    for (int rank = 0; rank < world_size(); ++rank) {
      const bool beyond = rank >= chunks;
      const bool has_partner = rank < extra;
      const int expected = beyond ? chunks : 2 * (chunks - 1) + (has_partner ? chunks : 0);
      EXPECT_EQ(Simulation(world).messages_sent(rank), expected * tiles);
    }
  }
}

TEST_P(ScheduleTest, DoublingGathersEveryRankOnceInLogarithmicallyManySteps) {
  for (const int parts : {1, 4}) {
    const World world = make_world(
        world_size(), [&](int rank) { return doubling_schedule(rank, world_size(), parts); });
    expect_mean(world, world_size());
    EXPECT_EQ(Simulation(world).messages_sent(0), parts * (world_size() - 1));
    EXPECT_LE(world[0].steps.size(), 5U);  // ceil(log2 17)
  }
}

// Sites of every size that divides the world.
std::vector<Sites> all_sites(int world_size) {
  std::vector<Sites> all;
  for (int sites = 1; sites <= world_size; ++sites) {
    if (world_size % sites == 0) {
      all.push_back({sites, world_size / sites});
    }
  }
  return all;
}

TEST_P(ScheduleTest, HierarchicalAddsEveryRankOnce) {
  for (const Sites& sites : all_sites(world_size())) {
    for (const int64_t elements : {1, 17, 1001, 3'000'017}) {
      for (const Form form : {Form::kEncoded, Form::kFloat32}) {
        SCOPED_TRACE(absl::StrCat(sites.sites, " sites, ", elements, " elements"));
        const std::vector<core::Part> parts =
            core::cut_for_sites(kInt8, {{{.name = "w", .rows = 1, .columns = elements}}},
                                sites.sites, sites.ranks_per_site);
        const std::vector<int> owners = owners_of(parts);
        const std::vector<int> tiles(parts.size(), 1);
        const World world = make_world(world_size(), [&](int rank) {
          return hierarchical_schedule(rank, sites, owners, tiles, form);
        });
        expect_mean(world, 1);
      }
    }
  }
}

// Between sites: M-1 sums of each wave and M-1 results, on every link alike; inside float32 sums.
TEST_P(ScheduleTest, HierarchicalSendsEncodedBytesAloneBetweenSites) {
  for (const Sites& sites : all_sites(world_size())) {
    std::vector<int> owners;
    for (int part = 0; part < world_size(); ++part) {
      owners.push_back(part % sites.sites * sites.ranks_per_site + part / sites.sites);
    }
    const std::vector<int> tiles(owners.size(), 1);
    for (int rank = 0; rank < world_size(); ++rank) {
      int between = 0;
      const StepList list = hierarchical_schedule(rank, sites, owners, tiles, Form::kEncoded);
      for (const Step& step : list.steps) {
        for (const Message& message : step.sends) {
          const bool leaves = message.peer / sites.ranks_per_site != rank / sites.ranks_per_site;
          between += leaves ? 1 : 0;
          const bool floats = !leaves && (message.content == Content::kSum || sites.sites == 1);
          EXPECT_EQ(message.form == Form::kFloat32, floats);
        }
      }
      EXPECT_EQ(between, 2 * (sites.sites - 1));
    }
  }
}

TEST_P(ScheduleTest, HierarchicalSendsLongFloat32InAllItsFrames) {
  for (const Sites& sites : all_sites(world_size())) {
    std::vector<int> owners;
    std::vector<int> tiles;
    for (int part = 0; part < 3 * world_size(); ++part) {
      owners.push_back(part * part % world_size());
      tiles.push_back(1 + part % 4);
    }
    const World world = make_world(world_size(), [&](int rank) {
      return hierarchical_schedule(rank, sites, owners, tiles, Form::kEncoded);
    });
    Simulation simulation(world);
    ASSERT_NO_FATAL_FAILURE(simulation.run());
    for (int part = 0; part < world[0].parts; ++part) {
      const int owner = owners[static_cast<size_t>(part)];
      for (int index = 0; index < sites.ranks_per_site; ++index) {
        const int mate = owner / sites.ranks_per_site * sites.ranks_per_site + index;
        if (mate != owner) {
          EXPECT_EQ(simulation.tiles_received(owner, part, mate), tiles[static_cast<size_t>(part)]);
        }
      }
    }
  }
}

// Payload bytes that `rank` sends.
int64_t bytes_sent(const StepList& list, const std::vector<core::Part>& parts) {
  int64_t bytes = 0;
  for (const Step& step : list.steps) {
    for (const Message& message : step.sends) {
      bytes += core::payload_bytes_max(kInt8, parts[static_cast<size_t>(message.part)].layout);
    }
  }
  return bytes;
}

TEST_P(ScheduleTest, ShardedSendsTwoPayloadsWhateverTheWorld) {
  for (const int64_t elements : {100'003, 4'000'037}) {
    const std::vector<core::Part> parts = parts_of(kInt8, elements, world_size());
    const std::vector<int> owners = owners_of(parts);
    const double payload = static_cast<double>(
        core::payload_bytes_max(kInt8, {{{.name = "w", .rows = 1, .columns = elements}}}));
    const double formula = 2 * payload * (world_size() - 1) / world_size();
    for (int rank = 0; rank < world_size(); ++rank) {
      const auto sent = static_cast<double>(
          bytes_sent(sharded_schedule(rank, world_size(), owners, Form::kEncoded), parts));
      EXPECT_NEAR(sent, formula, 0.1 * formula) << "rank " << rank;
      EXPECT_LE(sent, 2.1 * payload);
    }
  }
}

}  // namespace
}  // namespace laconic::collective
