// Problems with exactly known constants, for tests and benchmarks of the convex methods. All are
// quadratics or logistic regressions that a seed makes; nothing is downloaded.
//
//   M  workers    d  dimension    mu, L  of f    delta  max_m |Hess f_m - Hess f|
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/convex/objective.h"

namespace laconic::testing {

// Row-major, [d][d].
class SymmetricMatrix {
 public:
  explicit SymmetricMatrix(int64_t d = 0)
      : d_(static_cast<size_t>(d)), values_(static_cast<size_t>(d * d)) {}

  int64_t dimension() const { return static_cast<int64_t>(d_); }
  double& at(int64_t i, int64_t j) {
    return values_[static_cast<size_t>(i) * d_ + static_cast<size_t>(j)];
  }
  double at(int64_t i, int64_t j) const {
    return values_[static_cast<size_t>(i) * d_ + static_cast<size_t>(j)];
  }
  std::span<double> values() { return values_; }
  std::span<const double> values() const { return values_; }
  void multiply(std::span<const double> x, std::span<double> out) const;
  void add(double factor, const SymmetricMatrix& other);

  // All eigenvalues, ascending, by cyclic Jacobi rotations. Cost: some 10 sweeps of 4 d^3.
  std::vector<double> eigenvalues() const;
  // Largest magnitude of an eigenvalue, within 1 % from below.
  double spectral_norm() const;
  // x of A x = b; A must be positive definite.
  std::vector<double> solve(std::span<const double> b) const;

 private:
  size_t d_;
  std::vector<double> values_;
};

// f_m(x) = x^T A_m x / 2 - b_m^T x.
class QuadraticProblem {
 public:
  struct Worker {
    SymmetricMatrix a;
    std::vector<double> b;
  };

  explicit QuadraticProblem(std::vector<Worker> workers);

  int64_t dimension() const { return mean_.dimension(); }
  int workers() const { return static_cast<int>(workers_.size()); }
  double convexity() const { return convexity_; }
  double smoothness() const { return smoothness_; }
  double similarity() const { return similarity_; }
  // Largest eigenvalue of A_m.
  double worker_smoothness(int worker) const;

  std::unique_ptr<convex::Objective> objective(int worker) const;
  std::span<const double> solution() const { return solution_; }
  const SymmetricMatrix& mean() const { return mean_; }
  const Worker& worker(int m) const { return workers_[static_cast<size_t>(m)]; }
  // f(x) - f*, and the same over f(0) - f*.
  double excess(std::span<const double> x) const;
  double relative_gap(std::span<const double> x) const;

 private:
  std::vector<Worker> workers_;
  SymmetricMatrix mean_;
  std::vector<double> solution_;
  double convexity_ = 0;
  double smoothness_ = 0;
  double similarity_ = 0;
};

// Mean Hessian with eigenvalues mu (L/mu)^(i/(d-1)), plus symmetric random matrices that sum to 0
// and of which the largest has norm delta; unrelated b_m. delta > mu: f_m are not convex.
QuadraticProblem random_quadratic(int64_t d, int workers, double mu, double smoothness,
                                  double delta, uint64_t seed);

// Ridge regression on rows of 14 one-hot groups, d = 123, shaped like a9a; n rows a worker.
QuadraticProblem ridge_like_a9a(int workers, int64_t rows, uint64_t seed);

}  // namespace laconic::testing
