// The steps of a power iteration on one matrix, as the codec low rank and the method power_sgd take
// them. Sums are float64 in index order: equal inputs give equal bits everywhere.
//
//   M  [n x m], row after row    P  [n x r]    Q  [m x r]    r  columns
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace laconic::compress {

struct Matrix {
  std::span<const float> values;  // [rows * columns]
  size_t rows = 0;
  size_t columns = 0;
};

// Replaces columns of zeros, which would stay zero for ever, by random numbers in -1..1 that
// `stream` and the place give. q: [m x r].
void refill(std::span<float> q, size_t r, uint64_t stream);

// M Q, [n x r]. q: [m x r]. Cost: n m r.
std::vector<double> times(const Matrix& m, std::span<const float> q, size_t r);

// M^T P, [m x r]. p: [n x r]. Cost: n m r.
std::vector<double> transposed_times(const Matrix& m, std::span<const float> p, size_t r);

// Modified Gram-Schmidt on the columns of p, [n x r]. A column that depends on those before it
// becomes zero. Cost: n r^2.
void orthonormalise(std::vector<double>& p, size_t r);

// out <- in, cut off at -most and most, rounded. Both of one length.
void round_to_float(const std::vector<double>& in, double most, std::span<float> out);

// Writes P Q^T row by row in float32, in the order of columns; the end of what it wrote.
// p_rows: [n x factors], q_rows: [m x factors], to: [n m].
float* put_product(std::span<const float> p_rows, std::span<const float> q_rows, size_t factors,
                   float* to);

}  // namespace laconic::compress
