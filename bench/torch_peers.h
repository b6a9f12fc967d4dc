// libtorch's answers to what our codecs do, on one core. The only part that includes torch; a build
// without it has torch_peers_missing.cc instead.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace laconic::bench {

class TorchPeers {
 public:
  virtual ~TorchPeers() = default;

  // topk of |a| without sorting, then gather of the values. Returns how many were kept.
  virtual int64_t top_k(int64_t k) = 0;
  // quantize_per_tensor to int8 with the scale absmax / 127. The scale is found once, outside.
  virtual void quantize_int8() = 0;
  // sum += dequantize(what quantize_int8() made).
  virtual void dequantize_add(std::span<float> sum) = 0;
};

// `a` must outlive the result. nullptr in a build without libtorch.
std::unique_ptr<TorchPeers> make_torch_peers(std::span<float> a);

}  // namespace laconic::bench
