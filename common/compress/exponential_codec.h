// Every element in 4, 3 or 2 bits: its sign and one of 8, 4 or 2 levels in nearly geometric
// progression, fitted to each tensor (exponential_levels.h).
//
//   d  elements    b  bits    L = 2^(b-1)  levels
//
// Payload: for every tensor its L levels, bfloat16, ascending; then b bits per element as one bit
// stream: the highest bit is the sign, the others the number of the nearest level, the lower one at
// a tie; the last byte filled up with zeros. Fixed size; contractive; neither unbiased nor
// additive.
#pragma once

#include "common/compress/codec.h"

namespace laconic::compress {

class ExponentialCodec final : public Codec {
 public:
  // spec: kExponential, checked by make_codec().
  ExponentialCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return tensor_ends_.back(); }
  int64_t payload_bytes_max() const override { return payload_bytes_; }
  bool fixed_size() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;

 private:
  int bits_;
  size_t levels_;                     // L
  std::vector<int64_t> tensor_ends_;  // index after the last element of each tensor
  int64_t payload_bytes_;
};

}  // namespace laconic::compress
