#include "common/compress/low_rank_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/core/codec_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr uint64_t kStartStream = uint64_t{1} << 34;

// [rows x columns], row after row.
struct Matrix {
  std::span<const float> values;
  size_t rows = 0;
  size_t columns = 0;
};

// Replaces columns of zeros, which would stay zero for ever, by random numbers. q: [m x r].
void refill(std::span<float> q, size_t r, uint64_t stream) {
  const core::Random random(0, kStartStream + stream);
  for (size_t c = 0; c < r; ++c) {
    bool empty = true;
    for (size_t j = c; j < q.size(); j += r) {
      empty = empty && q[j] == 0;
    }
    for (size_t j = c; empty && j < q.size(); j += r) {
      q[j] = static_cast<float>(random.at(j) >> 40) * 0x1p-23F - 1.0F;
    }
  }
}

// M Q. q: [m x r].
std::vector<double> times(const Matrix& m, std::span<const float> q, size_t r) {
  std::vector<double> p(m.rows * r);
  for (size_t i = 0; i < m.rows; ++i) {
    double* row = p.data() + i * r;
    for (size_t j = 0; j < m.columns; ++j) {
      const auto x = static_cast<double>(m.values[i * m.columns + j]);
      for (size_t c = 0; c < r; ++c) {
        row[c] += x * static_cast<double>(q[j * r + c]);
      }
    }
  }
  return p;
}

// M^T P. p: [n x r].
std::vector<double> transposed_times(const Matrix& m, std::span<const float> p, size_t r) {
  std::vector<double> q(m.columns * r);
  for (size_t i = 0; i < m.rows; ++i) {
    for (size_t j = 0; j < m.columns; ++j) {
      const auto x = static_cast<double>(m.values[i * m.columns + j]);
      for (size_t c = 0; c < r; ++c) {
        q[j * r + c] += x * static_cast<double>(p[i * r + c]);
      }
    }
  }
  return q;
}

double column_product(const std::vector<double>& p, size_t r, size_t a, size_t b) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); i += r) {
    sum += p[i + a] * p[i + b];
  }
  return sum;
}

// Modified Gram-Schmidt. A column that depends on those before it becomes zero.
void orthonormalise(std::vector<double>& p, size_t r) {
  constexpr double kDependent = 1e-10;  // of its length is left: rounding, no direction
  for (size_t c = 0; c < r; ++c) {
    const double length = std::sqrt(column_product(p, r, c, c));
    for (size_t before = 0; before < c; ++before) {
      const double share = column_product(p, r, before, c);
      for (size_t i = 0; i < p.size(); i += r) {
        p[i + c] -= share * p[i + before];
      }
    }
    const double left = std::sqrt(column_product(p, r, c, c));
    const double factor = left > kDependent * length ? 1 / left : 0;
    for (size_t i = 0; i < p.size(); i += r) {
      p[i + c] *= factor;
    }
  }
}

void round_to_float(const std::vector<double>& in, double most, std::span<float> out) {
  for (size_t i = 0; i < in.size(); ++i) {
    out[i] = static_cast<float>(std::clamp(in[i], -most, most));
  }
}

// Writes P Q^T row by row, P and Q of `factors` columns; the end of what it wrote.
float* put_product(std::span<const float> p_rows, std::span<const float> q_rows, size_t factors,
                   float* to) {
  const float* const p_end = p_rows.data() + p_rows.size();
  const float* const q_end = q_rows.data() + q_rows.size();
  for (const float* p = p_rows.data(); p < p_end; p += factors) {
    for (const float* q = q_rows.data(); q < q_end; q += factors) {
      float sum = p[0] * q[0];
      for (size_t c = 1; c < factors; ++c) {
        sum += p[c] * q[c];
      }
      *to++ = sum;
    }
  }
  return to;
}

}  // namespace

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
