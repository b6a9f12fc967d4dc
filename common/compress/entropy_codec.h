// An optional last stage for thin links: the bytes of a payload that hold codes are entropy-coded,
// the rest (scales, positions, signs) is kept as it is.
//
// Payload: u8 mode. 0: the inner payload. 1: entropy code of the codes (range_coder.h), then the
// bytes of the inner payload before and behind the codes. Mode 0 is taken where 1 is not smaller,
// so a payload has at most one byte more than the inner one. Size depends on the data; unbiased as
// the inner codec; not additive; the decoded values are those of the inner codec.
#pragma once

#include <memory>

#include "common/compress/codec.h"
#include "common/core/codec_sizes.h"

namespace laconic::compress {

class EntropyCodec final : public Codec {
 public:
  // inner: of fixed size. range: where its codes are, not empty.
  EntropyCodec(std::unique_ptr<Codec> inner, const core::CodeRange& range);

  int64_t elements() const override { return inner_->elements(); }
  int64_t payload_bytes_max() const override {
    return core::kEntropyModeBytes + inner_->payload_bytes_max();
  }
  bool fixed_size() const override { return false; }
  int64_t payload_bytes_expected() const override;
  bool unbiased() const override { return inner_->unbiased(); }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;

 private:
  // The inner payload of a payload.
  absl::StatusOr<std::vector<uint8_t>> open(std::span<const uint8_t> payload) const;

  std::unique_ptr<Codec> inner_;
  core::CodeRange range_;
};

}  // namespace laconic::compress
