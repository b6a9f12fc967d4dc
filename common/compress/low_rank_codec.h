// Every matrix is sent as the product of two thin ones, P Q^T; vectors, and matrices that would not
// get smaller, as float32.
//
//   M  [n x m] a matrix of the layout    r  spec.factors    P  [n x r]    Q  [m x r]
//
//   P = M Q_last, its columns orthonormalised;  Q = M^T P;  D = P Q^T;  Q_last <- Q (warm start)
//
// D is M projected on the columns of P, so it never has more energy than M: contractive, hence with
// error feedback. Neither unbiased nor additive. Fixed size: r (n + m) float32 per matrix.
//
// Not quite PowerSGD: there P is averaged over the ranks before it is orthonormalised and then Q,
// two linear all-reduces, so all ranks share one P and the result has rank r. Here each rank
// factors its own matrix alone, in one exchange, and the mean of P ranks has rank up to P r.
//
// Sums are float64 in index order, P and Q are rounded to float32, and a receiver multiplies them
// in float32 in the order of columns, so all decode the same bits. |Q| is capped so that D is
// finite. Source: Vogels, Karimireddy, Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression
// for Distributed Optimization", NeurIPS 2019 (arXiv 1905.13727).
#pragma once

#include "common/compress/codec.h"

namespace laconic::compress {

class LowRankCodec final : public Codec {
 public:
  // spec: kLowRank, checked by make_codec().
  LowRankCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_; }
  bool fixed_size() const override { return true; }
  using Codec::encode;
  // Uses and replaces state.low_rank.
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;

 private:
  struct Tensor {
    int64_t rows = 0;
    int64_t columns = 0;
    bool factored = false;
  };

  size_t factors_;  // r
  int64_t elements_;
  int64_t payload_bytes_;
  size_t start_floats_ = 0;  // of all Q
  std::vector<Tensor> tensors_;
};

}  // namespace laconic::compress
