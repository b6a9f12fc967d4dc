// Quantize in 8 or 4 bits with rounding at random instead of to nearest: the mean over the seeds is
// the element. The payload is that of dense_codec.h, so its decoder is the one used.
//
//   v  a value    s  scale of its group    u  uniform in [0, 1), of 24 bits
//
// q = floor(v / s + u), up with the probability of the fraction of v / s, which is compared with u;
// s = absmax / 127 (or 7) rounded up to bfloat16, so nothing clips. Fixed size; unbiased up to the
// rounding of v / s, 2^-24 relative, and for scales up to the largest allowed (|v| < 3.39e38); not
// additive. Its error is twice that of rounding to nearest: take that with error feedback unless an
// unbiased codec is needed.
// Source: Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD", NIPS 2017 (with the maximum as scale).
#pragma once

#include "common/compress/codec.h"
#include "common/compress/dense_codec.h"

namespace laconic::compress {

class StochasticQuantizeCodec final : public Codec {
 public:
  // spec: kQuantize in 8 or 4 bits, stochastic; checked by make_codec(). Its rank names the random
  // numbers.
  StochasticQuantizeCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return nearest_.elements(); }
  int64_t payload_bytes_max() const override { return nearest_.payload_bytes_max(); }
  bool fixed_size() const override { return true; }
  bool unbiased() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override {
    return nearest_.decode(payload, out);
  }
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override {
    return nearest_.decode_add(payload, sign, sum);
  }

 private:
  DenseCodec nearest_;
  int bits_;
  int rank_;
  std::vector<int64_t> group_ends_;
};

}  // namespace laconic::compress
