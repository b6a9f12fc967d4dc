#include "common/compress/low_rank_math.h"

#include <algorithm>
#include <cmath>

#include "common/core/random.h"

namespace laconic::compress {
namespace {

constexpr uint64_t kStartStream = uint64_t{1} << 34;

double column_product(const std::vector<double>& p, size_t r, size_t a, size_t b) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); i += r) {
    sum += p[i + a] * p[i + b];
  }
  return sum;
}

}  // namespace

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

}  // namespace laconic::compress
