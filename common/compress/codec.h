// Turns a vector of d float32 into few bytes and back. The byte layout is docs/wire-format.md.
//
//   d  elements of the vector    k  elements kept    b  bits per value
//   a  the vector to encode      Q  encode           D  decode
//
// The scalar code behind this interface is the specification: faster versions must make the same
// bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/compress/squared_norm.h"
#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::compress {

// What the sender of a vector remembers from one encode to the next; receivers never need it. One
// per vector that is sent; a new one is right for the first. Cheap to copy: a rollback restores it.
struct EncodeState {
  // Of the round, equal on all ranks, set by the caller: random positions, stochastic rounding.
  uint64_t seed = 0;
  // top-k: magnitude above which the last round's elements were kept; 0 asks for an exact
  // selection.
  float threshold = 0;
  int32_t threshold_age = 0;  // rounds since it was exact
  // low rank: Q of every matrix after the last round, one after the other; null asks for a random
  // start.
  std::shared_ptr<const std::vector<float>> low_rank = nullptr;
};

// Stateless after construction; may be used by several threads at once.
class Codec {
 public:
  virtual ~Codec() = default;

  // Elements of the vectors this codec works on.
  virtual int64_t elements() const = 0;

  // Largest payload encode() can make; exact when fixed_size().
  virtual int64_t payload_bytes_max() const = 0;
  virtual bool fixed_size() const = 0;
  // What a payload is likely to have; for planning.
  virtual int64_t payload_bytes_expected() const { return payload_bytes_max(); }

  // E D(Q(a)) = a over the seeds.
  virtual bool unbiased() const { return false; }
  // Payloads of ranks that encode with equal seeds hold values of the same positions at the same
  // scale, so the sum of the decoded values is the decoded sum: float32 values at the end of the
  // payload may be added up on the way.
  virtual bool additive() const { return false; }

  // Encodes `a`.
  //
  //   a        [d] f32
  //   out      [payload_bytes_max()], overwritten; unspecified behind the returned size
  //   returns  bytes of the payload; equal `a` and state give equal bytes
  //
  // Errors: InvalidArgument if a length is wrong or `a` holds a NaN or an infinity.
  virtual absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                        std::span<uint8_t> out) const = 0;

  // a <- decay a + v, then encode(a): the start of error feedback, in as few passes as it takes.
  // Each product and sum is rounded to float32; no fused multiply-add. v: [d] f32.
  // Errors: as encode; `a` is unspecified then.
  virtual absl::StatusOr<size_t> encode_sum(std::span<const float> v, float decay,
                                            std::span<float> a, EncodeState& state,
                                            std::span<uint8_t> out) const;

  // The same bytes, and the norms.
  virtual absl::StatusOr<size_t> encode_sum_measured(std::span<const float> v, float decay,
                                                     std::span<float> a, EncodeState& state,
                                                     std::span<uint8_t> out,
                                                     EncodeSquares& squares) const;

  // Decodes a payload from a peer, which may be hostile: every length is checked before anything is
  // written.
  //
  //   out  [d] f32, overwritten; unspecified after an error
  //
  // Errors: DataLoss with the reason if the payload's size, counts, positions, scales or unused
  // bits are not such as encode() makes; InvalidArgument if `out` has the wrong length.
  virtual absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const = 0;

  // sum <- sum + sign D(payload), one rounding per element. sign: 1 or -1.
  // Errors: as decode; `sum` is unspecified then.
  virtual absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                                  std::span<float> sum) const;

  // a <- a - D(payload), one rounding per element: the end of error feedback.
  //
  //   squares  |a|^2
  //   returns  |a - D|^2
  //
  // Errors: as decode; `a` is unspecified then.
  virtual absl::StatusOr<double> take_away(std::span<const uint8_t> payload, double squares,
                                           std::span<float> a) const;

  // out <- (D(payloads[0]) + D(payloads[1]) + ..) / P in float32, in this order: the mean over the
  // ranks. P >= 1. Errors: as decode, "payload from rank r: " before the reason.
  virtual absl::Status decode_mean(std::span<const std::span<const uint8_t>> payloads,
                                   std::span<float> out) const;

  // For tests and small vectors: encode() with a new state into a vector of its own.
  absl::StatusOr<std::vector<uint8_t>> encode(std::span<const float> a) const;
};

// Makes the codec that `spec` names for vectors of the given layout.
// Errors: InvalidArgument for a spec outside the ranges of core/codec_spec.h, or an empty layout.
absl::StatusOr<std::unique_ptr<Codec>> make_codec(const core::CodecSpec& spec,
                                                  const core::Layout& layout);

}  // namespace laconic::compress
