// Ranks for tests in one process, one thread each. No gRPC in here: a bare machine with a GPU has
// none.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "common/collective/in_process_transport.h"
#include "tests/testing/status_matchers.h"

namespace laconic::testing {

// Far beyond what any operation of a test takes, so that only a hang meets it.
inline constexpr absl::Duration kTestDeadline = absl::Seconds(60);

using Transports = std::vector<std::unique_ptr<collective::Transport>>;

// Runs body(rank) on one thread per rank and joins them all.
inline void on_all_ranks(int world_size, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back(body, rank);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

inline Transports in_process_world(collective::InProcessNetwork& network, int world_size) {
  Transports transports;
  for (int rank = 0; rank < world_size; ++rank) {
    transports.push_back(network.endpoint(rank));
  }
  return transports;
}

}  // namespace laconic::testing
