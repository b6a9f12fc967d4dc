#include "bench/torch_peers.h"

#include <torch/torch.h>

namespace laconic::bench {
namespace {

torch::Tensor view_of(std::span<float> values) {
  return torch::from_blob(values.data(), {static_cast<int64_t>(values.size())}, torch::kFloat32);
}

class Peers final : public TorchPeers {
 public:
  explicit Peers(std::span<float> a) : a_(view_of(a)) {
    at::set_num_threads(1);
    scale_ = a_.abs().max().item<double>() / 127;
    quantize_int8();
  }

  int64_t top_k(int64_t k) override {
    const torch::InferenceMode no_gradient;
    const torch::Tensor positions =
        std::get<1>(torch::topk(a_.abs(), k, /*dim=*/0, /*largest=*/true, /*sorted=*/false));
    return a_.gather(0, positions).numel();
  }
  void quantize_int8() override {
    quantized_ = torch::quantize_per_tensor(a_, scale_, /*zero_point=*/0, torch::kQInt8);
  }
  void dequantize_add(std::span<float> sum) override { view_of(sum).add_(quantized_.dequantize()); }

 private:
  torch::Tensor a_;
  double scale_ = 1;
  torch::Tensor quantized_;
};

}  // namespace

std::unique_ptr<TorchPeers> make_torch_peers(std::span<float> a) {
  return std::make_unique<Peers>(a);
}

}  // namespace laconic::bench
