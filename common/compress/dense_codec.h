// Every element is sent: as float32 (none), or in 8, 4, 2 or 1 bits with scales per block of the
// flat vector or per row of its tensors (quantize). The payload is value_coder.h's.
#pragma once

#include "common/compress/codec.h"
#include "common/compress/value_coder.h"

namespace laconic::compress {

class DenseCodec final : public Codec {
 public:
  // spec: kNone or kQuantize, checked by make_codec().
  DenseCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return coder_.values(); }
  int64_t payload_bytes_max() const override { return coder_.bytes(); }
  bool fixed_size() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::StatusOr<size_t> encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                    EncodeState& state, std::span<uint8_t> out) const override;
  absl::StatusOr<size_t> encode_sum_measured(std::span<const float> v, float decay,
                                             std::span<float> a, EncodeState& state,
                                             std::span<uint8_t> out,
                                             EncodeSquares& squares) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;
  absl::StatusOr<double> take_away(std::span<const uint8_t> payload, double squares,
                                   std::span<float> a) const override;

 private:
  absl::StatusOr<size_t> encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                    std::span<uint8_t> out, EncodeSquares* squares) const;

  ValueCoder coder_;
};

}  // namespace laconic::compress
