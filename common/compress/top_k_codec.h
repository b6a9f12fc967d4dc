// Only the largest elements are sent: their positions (positions.h), then their values in groups of
// 256 (value_coder.h). All other elements decode to 0.
//
//   d  elements    k  kept = core::kept_elements(density, d)    b  bits per value
#pragma once

#include "common/compress/codec.h"
#include "common/compress/value_coder.h"

namespace laconic::compress {

// Positions of the k entries of `in` with the largest magnitude, ascending.
//
//   in  [d] f32, finite    k  1..d    d  at most core::kCodecElementsMax
//
// Ties go to the lower index, so equal inputs give equal output on every rank.
// Cost: three passes over `in`, 0.75 MiB of counters.
// Source: Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory", NeurIPS 2018.
std::vector<uint32_t> select_top_k(std::span<const float> in, int64_t k);

class TopKCodec final : public Codec {
 public:
  // spec: kTopK, checked by make_codec().
  TopKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_max_; }
  bool fixed_size() const override { return false; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;

 private:
  int64_t elements_;
  int64_t payload_bytes_max_;
  ValueCoder coder_;  // of the k kept values
};

}  // namespace laconic::compress
