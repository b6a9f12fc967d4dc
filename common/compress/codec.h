// Turns a vector of d float32 into few bytes and back. The byte layout is docs/wire-format.md.
//
//   d  elements of the vector    k  elements kept    b  bits per value
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
#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::compress {

// Stateless after construction; may be used by several threads at once.
class Codec {
 public:
  virtual ~Codec() = default;

  // Elements of the vectors this codec works on.
  virtual int64_t elements() const = 0;

  // Largest payload encode() can make; exact when fixed_size().
  virtual int64_t payload_bytes_max() const = 0;
  virtual bool fixed_size() const = 0;

  // Encodes `in`.
  //
  //   in       [d] f32
  //   returns  payload, at most payload_bytes_max() bytes; equal input gives equal bytes
  //
  // Errors: InvalidArgument if `in` has the wrong length or holds a NaN or an infinity.
  virtual absl::StatusOr<std::vector<uint8_t>> encode(std::span<const float> in) const = 0;

  // Decodes a payload from a peer, which may be hostile: every length is checked before anything is
  // written.
  //
  //   out  [d] f32, overwritten; unspecified after an error
  //
  // Errors: DataLoss with the reason if the payload's size, counts, positions, scales or unused
  // bits are not such as encode() makes; InvalidArgument if `out` has the wrong length.
  virtual absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const = 0;
};

// Makes the codec that `spec` names for vectors of the given layout.
// Errors: InvalidArgument for a spec outside the ranges of core/codec_spec.h, or an empty layout.
absl::StatusOr<std::unique_ptr<Codec>> make_codec(const core::CodecSpec& spec,
                                                  const core::Layout& layout);

}  // namespace laconic::compress
