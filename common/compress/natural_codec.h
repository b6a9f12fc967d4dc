// Every element as its sign and a power of two, rounded at random to one of the two that enclose
// it, so that its mean over the seeds is the element: 9 bits each.
//
//   d  elements    m  bits of |x| as a float32    r  23 random bits
//
// Code e = min(254, (m + r) >> 23), the exponent of a float32: up with the probability of the
// fraction. D = 2^(e - 127), or 0 for e = 0: below 2^-126 the two neighbours are 0 and 2^-126.
// Payload: d bytes e, then d sign bits (1: below zero; 0 where e = 0), the last byte filled up with
// zeros. Fixed size; unbiased below 2^127 with E |D - x|^2 <= |x|^2 / 8; not additive.
// Source: Horvath, Ho, Horvath, Sahu, Canini, Richtarik, "Natural Compression for Distributed Deep
// Learning", arXiv 1905.10988.
#pragma once

#include "common/compress/codec.h"

namespace laconic::compress {

class NaturalCodec final : public Codec {
 public:
  // spec: kNatural, checked by make_codec(). Its rank names the random numbers.
  NaturalCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_; }
  bool fixed_size() const override { return true; }
  bool unbiased() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;

 private:
  int64_t elements_;
  int64_t payload_bytes_;
  int rank_;
};

}  // namespace laconic::compress
