#include "bench/torch_peers.h"

namespace laconic::bench {

std::unique_ptr<TorchPeers> make_torch_peers(std::span<float> /*a*/) {
  return nullptr;
}

}  // namespace laconic::bench
