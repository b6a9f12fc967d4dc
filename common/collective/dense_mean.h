// The mean over the ranks in float32: each element is summed in rank order in double by the rank
// that owns it, and its float32 result goes to all, so all get the same bits.
//
//   P  world_size    d  elements    T  tiles of the largest share    L  lag: steps between sending
//   and receiving a tile
//
// Sums and results share the link: while tile t of every share is on its way to its owner, results
// of earlier tiles go out. In step s a rank sends the result of its tile s - L - 1 and tile s of
// every share, and receives the others' results s - 2 L - 1 and sums s - L; so on each ordered pair
// of ranks frames are received in the order in which they are sent.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/frame_channel.h"
#include "common/compress/buffer_pool.h"

namespace laconic::collective {

// One operation; owned by one thread, used once.
class DenseMean {
 public:
  // channel, tiles: must outlive this object; P >= 2.  v, mean: [d] f32, the same memory or apart.
  DenseMean(FrameChannel& channel, compress::BufferPool& tiles, std::span<const float> v,
            std::span<float> mean, const OpTag& tag);

  // As Communicator::all_reduce_mean.
  absl::Status run();

 private:
  // The elements of one owner.
  struct Share {
    int64_t begin = 0;
    int64_t elements = 0;
    int64_t tiles = 0;
  };
  // Where the elements of one tile are in the vector.
  struct Place {
    size_t begin = 0;
    size_t count = 0;
  };
  // False for tiles before the first and behind the last one.
  bool has(int owner, int64_t tile) const;
  Place place_of(int owner, int64_t tile) const;
  FrameHeader header_of(const FrameHeader& phase, int owner, int64_t tile) const;

  absl::Status send_result(int64_t tile);
  absl::Status send_sums(int64_t tile);
  absl::Status receive_results(int64_t tile);
  absl::Status reduce(int64_t tile);
  void take(const Place& place, Payload bytes);

  // Floats as they lie in memory; every machine this builds on is little-endian.
  Payload copy_of(std::span<const float> values);

  FrameChannel& channel_;
  compress::BufferPool& tiles_;
  const std::span<const float> v_;
  const std::span<float> mean_;
  const bool in_place_;
  FrameHeader sums_;     // what all frames on their way to an owner share
  FrameHeader results_;  // likewise from an owner
  std::vector<Share> shares_;
  std::vector<Payload> own_;  // [tiles of the own share] results, until they are sent
  // In place the results wait until all have come: after an error v must be what it was.
  struct Waiting {
    Place place;
    Payload bytes;
  };
  std::vector<Waiting> waiting_;
};

}  // namespace laconic::collective
