#include "common/compress/dense_codec.h"

#include <algorithm>

#include "common/compress/input_check.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

std::vector<int64_t> group_ends(const core::CodecSpec& spec, const core::Layout& layout) {
  const int64_t elements = layout.elements();
  if (spec.kind == core::CodecKind::kNone) {
    return {elements};
  }
  if (!spec.rows) {
    return even_groups(elements, spec.block);
  }
  std::vector<int64_t> ends;
  ends.reserve(static_cast<size_t>(layout.total_rows()));
  int64_t end = 0;
  for (const core::TensorShape& tensor : layout.tensors) {
    for (int64_t row = 0; row < tensor.rows; ++row) {
      end += tensor.columns;
      ends.push_back(end);
    }
  }
  return ends;
}

}  // namespace

DenseCodec::DenseCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : coder_(core::value_code(spec), group_ends(spec, layout)) {}

absl::StatusOr<size_t> DenseCodec::encode(std::span<const float> a, EncodeState& /*state*/,
                                          std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements()));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  std::vector<uint8_t> payload;
  coder_.encode(a, payload);
  std::copy(payload.begin(), payload.end(), out.begin());
  return payload.size();
}

absl::Status DenseCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements()));
  return coder_.decode(payload, out);
}

}  // namespace laconic::compress
