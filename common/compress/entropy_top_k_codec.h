// The entropy stage of top-k, for thin links: positions as Rice-coded gaps (rice_positions.h) and
// the codes of the values entropy-coded (range_coder.h), each only where that is smaller.
//
// Payload: u8 mode; bit 0: the positions are Rice-coded; bit 1: the codes are entropy-coded. Then
// the position section, then the value section: scales or levels as they are, then the codes. A
// code of b bits is one symbol of 2^b. Mode 0 is the payload of top-k, so a payload has at most one
// byte more. Decodes to the values of top-k.
// Float32 values are never coded. Cost: about 20 ns a kept element, beside top-k's own.
#pragma once

#include <memory>
#include <vector>

#include "common/compress/top_k_codec.h"
#include "common/core/codec_sizes.h"

namespace laconic::compress {

class EntropyTopKCodec final : public Codec {
 public:
  // spec: kTopK, checked by make_codec(); its `entropy` is not looked at.
  EntropyTopKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return inner_.elements(); }
  int64_t payload_bytes_max() const override {
    return core::kEntropyModeBytes + inner_.payload_bytes_max();
  }
  int64_t payload_bytes_expected() const override {
    return core::kEntropyModeBytes + inner_.payload_bytes_expected();
  }
  bool fixed_size() const override { return false; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::StatusOr<size_t> encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                    EncodeState& state, std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;

 private:
  // The payload for top-k's payload `inner`.
  absl::StatusOr<size_t> close(std::span<const uint8_t> inner, std::span<uint8_t> out) const;
  // The other way round.
  absl::StatusOr<std::vector<uint8_t>> open(std::span<const uint8_t> payload) const;

  TopKCodec inner_;
  core::CodecSpec spec_;
  int64_t kept_max_;
};

}  // namespace laconic::compress
