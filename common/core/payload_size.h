// The size equation of every payload: one place for the encoder, for the decoder's check of hostile
// bytes, and for the prediction that `laconic validate` prints.
#pragma once

#include <cstdint>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::core {

// Bytes of the payload that `spec` makes of a vector of this layout: exact for none and quantize,
// the largest possible for top-k. The layout of the bytes is docs/wire-format.md.
int64_t payload_bytes_max(const CodecSpec& spec, const Layout& layout);

// Scales in a quantized payload: one per row, or one per block of the flat vector.
int64_t scale_count(const CodecSpec& spec, const Layout& layout);

// k = max(1, round(density d)).
int64_t kept_elements(double density, int64_t elements);

}  // namespace laconic::core
