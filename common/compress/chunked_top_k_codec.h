// The largest elements of every chunk are sent, as many of each: their positions, then their values
// in groups of 256 (value_coder.h). All other elements decode to 0. For comparison with top-k,
// which keeps the largest of the whole vector: where layers differ in scale, chunks keep less
// energy.
//
//   d  elements    n  elements of a chunk    c  kept of it = core::kept_of_chunk(n)
//
// The shape is SparseLoCo's (64 of 4096, 2-bit values; arXiv 2508.15706), with the positions in
// Elias-Fano code, 8.0 bits each there, instead of 12-bit indices. Fixed size, contractive, neither
// unbiased nor additive.
#pragma once

#include "common/compress/codec.h"
#include "common/compress/value_coder.h"

namespace laconic::compress {

class ChunkedTopKCodec final : public Codec {
 public:
  // spec: kChunkedTopK, checked by make_codec().
  ChunkedTopKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return position_bytes_ + coder_.bytes(); }
  bool fixed_size() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;

 private:
  struct Sparse;
  absl::StatusOr<Sparse> read(std::span<const uint8_t> payload) const;

  core::CodecSpec spec_;
  int64_t elements_;
  int64_t position_bytes_;
  ValueCoder coder_;  // of all kept values
};

}  // namespace laconic::compress
