#include "bench/gloo_peer.h"

namespace laconic::bench {

std::unique_ptr<GlooPeer> make_gloo_peer(int /*rank*/, int /*world_size*/,
                                         const std::string& /*host*/,
                                         const std::string& /*directory*/) {
  return nullptr;
}

bool has_gloo() {
  return false;
}

}  // namespace laconic::bench
