#include "bench/gloo_peer.h"

#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <chrono>

namespace laconic::bench {
namespace {

class Peer final : public GlooPeer {
 public:
  Peer(int rank, int world_size, const std::string& host, const std::string& directory)
      : context_(std::make_shared<gloo::rendezvous::Context>(rank, world_size)) {
    auto device = gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr(host.c_str()));
    gloo::rendezvous::FileStore store(directory);
    context_->setTimeout(std::chrono::minutes(5));
    context_->connectFullMesh(store, device);
  }

  void all_reduce_sum(std::span<float> values) override {
    gloo::AllreduceOptions options(context_);
    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(values.data(), values.size());
    options.setReduceFunction(
        static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
    gloo::allreduce(options);
  }

 private:
  std::shared_ptr<gloo::rendezvous::Context> context_;
};

}  // namespace

std::unique_ptr<GlooPeer> make_gloo_peer(int rank, int world_size, const std::string& host,
                                         const std::string& directory) {
  return std::make_unique<Peer>(rank, world_size, host, directory);
}

bool has_gloo() {
  return true;
}

}  // namespace laconic::bench
