// Levels +-A q^k, k = 0 .. L-1, 0 < q < 1, fitted to a tensor so that original and quantized values
// correlate best.
//
//   w  a value    y_k = A q^k    n_k, S_k  number and sum of the |w| that take level k
//
// A |w| takes level k where it lies between the cuts y_k (1 + q) / 2 and y_{k-1} (1 + q) / 2,
// halfway between levels. The correlation of w and its level is, for data whose mean is nearly 0,
// sum_k y_k S_k / sqrt(|w|^2 sum_k n_k y_k^2), and 1 minus its square is the smallest relative
// error that any scaling of the levels leaves. The scale is then free, so each level becomes the
// mean of what it stands for, which is never worse. Source: Malsagov, Khayrov, Pushkareva,
// Karandashev, "Exponential Discretization of Weights of Neural Network Connections in Pre-Trained
// Neural Networks", arXiv 2002.00623. Their zero level and cuts are not published; these cuts are
// the nearest-level ones.
#pragma once

#include <span>

#include "common/compress/levels.h"

namespace laconic::compress {

// `count` levels for `values`, ascending, each rounded to bfloat16: L = count, 2, 4 or 8.
//
// (A, q) is the best of a coarse grid (A = absmax 2^(-i/4), i = 0..40; q = .05 .. .95) and then of
// a fine one around it (A 2^(i/16), i = -4..4; q +- .05 in steps of .01), judged on a histogram of
// 4096 bins: the upper 12 bits of the float32 |w|, so cuts have 16 places per octave. Sums are
// float64 in index order; no library function, so every machine gets the same bits.
// Cost: one pass and about 0.1 ms. values: finite, not empty.
Levels fit_exponential_levels(std::span<const float> values, int count);

}  // namespace laconic::compress
