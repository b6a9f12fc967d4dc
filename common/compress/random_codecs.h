// Elements that a seed picks are sent as float32; all others decode to 0. Two ways to pick:
//
//   rand-k  the same k = core::kept_elements(density, d) random elements on every rank
//           payload: u64 seed, k float32                             fixed size, additive
//   perm-k  a random partition of all elements into P parts; each rank sends another part, so
//           together they send every element once
//           payload: u64 seed, u32 part, float32 of that part        not additive: parts differ
//
// Scaled, values are multiplied by d / k (perm-k: P) and the codec is unbiased; with perm-k the
// mean over ranks of equal vectors is then exact up to rounding. Not scaled, they are contractions
// by 1 - k/d (perm-k: 1 - 1/P) in expectation, for error feedback.
// Sources: Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory", NeurIPS 2018 (rand-k);
// Szlendak, Tyurin, Richtarik, "Permutation Compressors for Provably Faster Distributed Nonconvex
// Optimization", arXiv 2110.03300 (perm-k).
#pragma once

#include "common/compress/codec.h"

namespace laconic::compress {

class RandKCodec final : public Codec {
 public:
  // spec: kRandK, checked by make_codec().
  RandKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_; }
  bool fixed_size() const override { return true; }
  bool unbiased() const override { return scaled_; }
  bool additive() const override { return true; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;

 private:
  int64_t elements_;
  int64_t kept_;
  int64_t payload_bytes_;
  bool scaled_;
};

class PermKCodec final : public Codec {
 public:
  // spec: kPermK, checked by make_codec(). Rank r takes part (r + shift) mod P, where the seed
  // gives shift: every element is then in its part with probability 1 / P, whatever P divides.
  PermKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_max_; }
  bool fixed_size() const override { return elements_ % parts_ == 0; }
  bool unbiased() const override { return scaled_; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;

 private:
  int64_t elements_;
  int64_t rank_;
  int64_t parts_;  // P
  int64_t payload_bytes_max_;
  bool scaled_;
};

}  // namespace laconic::compress
