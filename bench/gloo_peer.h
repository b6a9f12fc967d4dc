// gloo's ring all-reduce, as another program for the same task. A build without gloo has
// gloo_peer_missing.cc instead.
#pragma once

#include <memory>
#include <span>
#include <string>

namespace laconic::bench {

class GlooPeer {
 public:
  virtual ~GlooPeer() = default;
  // Replaces `values` by the sum over the ranks.
  virtual void all_reduce_sum(std::span<float> values) = 0;
};

// One per process. The ranks find each other through files in `directory`.
//   host  address on which this rank listens
// nullptr in a build without gloo. Ends the program if the ranks cannot connect.
std::unique_ptr<GlooPeer> make_gloo_peer(int rank, int world_size, const std::string& host,
                                         const std::string& directory);
bool has_gloo();

}  // namespace laconic::bench
