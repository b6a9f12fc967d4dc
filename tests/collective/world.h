// Ranks for tests: P transports, in one process or over real gRPC on loopback, one thread each.
#pragma once

#include <string>
#include <vector>

#include "common/collective/grpc_transport.h"
#include "tests/collective/in_process_world.h"

namespace laconic::testing {

inline collective::GrpcTransportOptions grpc_options(int rank, int world_size, int lanes = 1) {
  collective::GrpcTransportOptions options;
  options.rank = rank;
  options.world_size = world_size;
  options.job_id = "job-1";
  options.peer_token = "0123456789abcdef0123456789abcdef";
  options.lanes = lanes;
  return options;
}

inline Transports grpc_world(int world_size, uint64_t generation, int lanes = 1) {
  std::vector<std::unique_ptr<collective::GrpcTransport>> ranks;
  std::vector<std::string> addresses;
  for (int rank = 0; rank < world_size; ++rank) {
    auto made = collective::GrpcTransport::create(grpc_options(rank, world_size, lanes));
    EXPECT_OK(made.status());
    addresses.push_back((*made)->address());
    ranks.push_back(*std::move(made));
  }
  on_all_ranks(world_size, [&](int rank) {
    EXPECT_OK(ranks[static_cast<size_t>(rank)]->connect(generation, addresses,
                                                        absl::Now() + kTestDeadline));
  });
  Transports transports;
  for (auto& rank : ranks) {
    transports.push_back(std::move(rank));
  }
  return transports;
}

inline void finish_all(Transports& transports) {
  on_all_ranks(static_cast<int>(transports.size()), [&](int rank) {
    EXPECT_OK(transports[static_cast<size_t>(rank)]->finish(absl::Now() + kTestDeadline));
  });
}

// What connects the ranks of a test, and how many there are.
struct WorldKind {
  bool grpc = false;
  int world_size = 1;
  int lanes = 1;  // of gRPC

  Transports make(uint64_t generation) const {
    if (grpc) {
      return grpc_world(world_size, generation, lanes);
    }
    collective::InProcessNetwork network(world_size);
    return in_process_world(network, world_size);
  }
};
inline void PrintTo(const WorldKind& kind, std::ostream* out) {
  *out << (kind.grpc ? "Grpc" : "InProcess") << kind.world_size;
  if (kind.lanes > 1) {
    *out << "Lanes" << kind.lanes;
  }
}
inline const std::vector<WorldKind>& all_worlds() {
  static const auto* worlds =
      new std::vector<WorldKind>{{false, 1}, {false, 2}, {false, 3}, {false, 7},  {true, 1},
                                 {true, 2},  {true, 3},  {true, 7},  {true, 3, 2}};
  return *worlds;
}
inline std::vector<WorldKind> worlds_with_peers() {
  std::vector<WorldKind> worlds = all_worlds();
  std::erase_if(worlds, [](const WorldKind& kind) { return kind.world_size == 1; });
  return worlds;
}
inline std::string world_name(const ::testing::TestParamInfo<WorldKind>& info) {
  return ::testing::PrintToString(info.param);
}

}  // namespace laconic::testing
