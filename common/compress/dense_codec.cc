#include "common/compress/dense_codec.h"

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

std::vector<GroupRun> groups_of(const core::CodecSpec& spec, const core::Layout& layout) {
  const int64_t elements = layout.elements();
  if (spec.kind == core::CodecKind::kNone) {
    return {{.groups = 1, .length = elements}};
  }
  if (!spec.rows) {
    return even_groups(elements, spec.block);
  }
  std::vector<GroupRun> groups;
  for (const core::TensorShape& tensor : layout.tensors) {
    if (!groups.empty() && groups.back().length == tensor.columns) {
      groups.back().groups += tensor.rows;
    } else {
      groups.push_back({.groups = tensor.rows, .length = tensor.columns});
    }
  }
  return groups;
}

}  // namespace

DenseCodec::DenseCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : coder_(core::value_code(spec), groups_of(spec, layout)) {}

absl::StatusOr<size_t> DenseCodec::encode(std::span<const float> a, EncodeState& /*state*/,
                                          std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input_size(a, elements()));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  if (!coder_.encode(a, out)) {
    return not_finite_error(a);
  }
  return static_cast<size_t>(coder_.bytes());
}

absl::StatusOr<size_t> DenseCodec::encode_sum(std::span<const float> v, float decay,
                                              std::span<float> a, EncodeState& /*state*/,
                                              std::span<uint8_t> out) const {
  return encode_sum(v, decay, a, out, nullptr);
}

absl::StatusOr<size_t> DenseCodec::encode_sum_measured(std::span<const float> v, float decay,
                                                       std::span<float> a, EncodeState& /*state*/,
                                                       std::span<uint8_t> out,
                                                       EncodeSquares& squares) const {
  return encode_sum(v, decay, a, out, &squares);
}

absl::StatusOr<size_t> DenseCodec::encode_sum(std::span<const float> v, float decay,
                                              std::span<float> a, std::span<uint8_t> out,
                                              EncodeSquares* squares) const {
  if (v.size() != a.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("encode: ", v.size(), " elements to add to ", a.size()));
  }
  LACONIC_RETURN_IF_ERROR(check_input_size(a, elements()));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  if (!coder_.encode_sum(v, decay, a, out, squares)) {
    return not_finite_error(a);
  }
  return static_cast<size_t>(coder_.bytes());
}

absl::Status DenseCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements()));
  return coder_.decode(payload, out);
}

absl::Status DenseCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                    std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements()));
  return coder_.decode_add(payload, sign, sum);
}

absl::StatusOr<double> DenseCodec::take_away(std::span<const uint8_t> payload, double /*squares*/,
                                             std::span<float> a) const {
  LACONIC_RETURN_IF_ERROR(check_output(a, elements()));
  double left = 0;
  LACONIC_RETURN_IF_ERROR(coder_.decode_add(payload, -1.0F, a, &left));
  return left;
}

}  // namespace laconic::compress
