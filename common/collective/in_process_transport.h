// All ranks in one process: the same schedules as over a network, with faults on command.
#pragma once

#include <memory>

#include "common/collective/transport.h"

namespace laconic::collective {

// Thread-safe. Endpoints may outlive the network object.
class InProcessNetwork {
 public:
  // 1 <= world_size <= 65536.
  explicit InProcessNetwork(int world_size);
  ~InProcessNetwork();
  InProcessNetwork(const InProcessNetwork&) = delete;
  InProcessNetwork& operator=(const InProcessNetwork&) = delete;

  // The transport of one rank; take each once. Destroying it without finish() is drop().
  std::unique_ptr<Transport> endpoint(int rank);

  // The rank's process "dies": what it has sent arrives, then its streams break.
  void drop(int rank);
  // Flips the lowest bit of byte `byte` (header first) of the next frame on this way; a byte
  // beyond the frame's end cuts its last byte off instead.
  void corrupt_next(int from_rank, int to_rank, size_t byte);
  // Frames on this way arrive only after release().
  void hold(int from_rank, int to_rank);
  void release(int from_rank, int to_rank);

 private:
  class Shared;
  class Endpoint;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace laconic::collective
