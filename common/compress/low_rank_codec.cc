#include "common/compress/low_rank_codec.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/low_rank_math.h"
#include "common/core/codec_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

LowRankCodec::LowRankCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : factors_(static_cast<size_t>(spec.factors)),
      elements_(layout.elements()),
      payload_bytes_(core::payload_bytes_max(spec, layout)) {
  for (const core::TensorShape& tensor : layout.tensors) {
    const bool factored = core::is_factored(spec, tensor);
    start_floats_ += factored ? static_cast<size_t>(tensor.columns) * factors_ : 0;
    tensors_.push_back({.rows = tensor.rows, .columns = tensor.columns, .factored = factored});
  }
}

absl::StatusOr<size_t> LowRankCodec::encode(std::span<const float> a, EncodeState& state,
                                            std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_));
  // Room for the sum of r products with |P| <= 1.
  const double most = static_cast<double>(std::numeric_limits<float>::max()) /
                      (2.0 * static_cast<double>(factors_));
  auto start = std::make_shared<std::vector<float>>(start_floats_);
  if (state.low_rank != nullptr && state.low_rank->size() == start_floats_) {
    *start = *state.low_rank;
  }
  std::vector<float> floats;
  floats.reserve(static_cast<size_t>(payload_bytes_) / sizeof(float));
  size_t at = 0;
  size_t start_at = 0;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const Tensor& tensor = tensors_[t];
    const Matrix m{.values = a.subspan(at, static_cast<size_t>(tensor.rows * tensor.columns)),
                   .rows = static_cast<size_t>(tensor.rows),
                   .columns = static_cast<size_t>(tensor.columns)};
    at += m.values.size();
    if (!tensor.factored) {
      for (const float v : m.values) {
        floats.push_back(v + 0.0F);  // -0 becomes 0: equal numbers, equal bytes.
      }
      continue;
    }
    const auto q = std::span(*start).subspan(start_at, m.columns * factors_);
    start_at += q.size();
    refill(q, factors_, t);
    std::vector<double> directions = times(m, q, factors_);
    orthonormalise(directions, factors_);
    std::vector<float> p(directions.size());
    round_to_float(directions, 1.0, p);
    round_to_float(transposed_times(m, p, factors_), most, q);
    floats.insert(floats.end(), p.begin(), p.end());
    floats.insert(floats.end(), q.begin(), q.end());
  }
  std::memcpy(out.data(), floats.data(), floats.size() * sizeof(float));
  state.low_rank = std::move(start);
  return floats.size() * sizeof(float);
}

absl::Status LowRankCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  if (static_cast<int64_t>(payload.size()) != payload_bytes_) {
    return absl::DataLossError(
        absl::StrCat("payload: ", payload.size(), " bytes, low rank must be ", payload_bytes_));
  }
  std::vector<float> floats(payload.size() / sizeof(float));
  std::memcpy(floats.data(), payload.data(), payload.size());
  const float* in = floats.data();
  float* to = out.data();
  for (const Tensor& tensor : tensors_) {
    const auto size = static_cast<size_t>(tensor.rows * tensor.columns);
    if (!tensor.factored) {
      std::copy(in, in + size, to);
      in += size;
      to += size;
      continue;
    }
    const float* p_end = in + static_cast<size_t>(tensor.rows) * factors_;
    const float* q_end = p_end + static_cast<size_t>(tensor.columns) * factors_;
    to = put_product({in, p_end}, {p_end, q_end}, factors_, to);
    in = q_end;
  }
  // An infinity or a NaN in P or Q makes a whole row or column such.
  if (!all_finite(out)) {
    return absl::DataLossError("payload: a decoded value is not finite");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
