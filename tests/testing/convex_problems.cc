#include "tests/testing/convex_problems.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "common/core/random.h"
#include "common/core/vector_math.h"

namespace laconic::testing {
namespace {

// Box-Muller: the standard library's normal numbers differ between libraries.
class Normal {
 public:
  explicit Normal(uint64_t seed, uint64_t stream = 0) : random_(seed, stream) {}
  double operator()() {
    const double radius = std::sqrt(-2 * std::log(1 - random_.uniform()));
    return radius * std::cos(2 * std::numbers::pi * random_.uniform());
  }
  double uniform() { return random_.uniform(); }

 private:
  core::Random random_;
};

class QuadraticObjective final : public convex::Objective {
 public:
  explicit QuadraticObjective(const QuadraticProblem::Worker& worker) : worker_(worker) {}
  int64_t dimension() const override { return worker_.a.dimension(); }
  absl::Status gradient(std::span<const double> x, std::span<double> gradient) override {
    worker_.a.multiply(x, gradient);
    core::add_scaled(-1, worker_.b, gradient);
    return absl::OkStatus();
  }

 private:
  const QuadraticProblem::Worker& worker_;
};

// A <- J^T A J with the rotation that makes a_pq 0. Source: Golub, Van Loan, "Matrix Computations",
// 8.5.2.
void rotate(SymmetricMatrix& a, int64_t p, int64_t q) {
  if (a.at(p, q) == 0) {
    return;
  }
  const double tau = (a.at(q, q) - a.at(p, p)) / (2 * a.at(p, q));
  const double t = (tau >= 0 ? 1 : -1) / (std::abs(tau) + std::sqrt(1 + tau * tau));
  const double c = 1 / std::sqrt(1 + t * t);
  const double s = t * c;
  for (int64_t k = 0; k < a.dimension(); ++k) {
    const double kp = a.at(k, p);
    const double kq = a.at(k, q);
    a.at(k, p) = c * kp - s * kq;
    a.at(k, q) = s * kp + c * kq;
  }
  for (int64_t k = 0; k < a.dimension(); ++k) {
    const double pk = a.at(p, k);
    const double qk = a.at(q, k);
    a.at(p, k) = c * pk - s * qk;
    a.at(q, k) = s * pk + c * qk;
  }
}

double off_diagonal(const SymmetricMatrix& a) {
  double sum = 0;
  for (int64_t i = 0; i < a.dimension(); ++i) {
    for (int64_t j = 0; j < i; ++j) {
      sum += a.at(i, j) * a.at(i, j);
    }
  }
  return sum;
}

// A <- H A H with H = I - 2 u u^T / |u|^2.
void reflect(SymmetricMatrix& a, std::span<const double> u) {
  const size_t d = u.size();
  const double scale = 2 / core::dot(u, u);
  std::vector<double> product(d);
  a.multiply(u, product);
  const double inner = core::dot(u, product);
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j < d; ++j) {
      a.at(static_cast<int64_t>(i), static_cast<int64_t>(j)) +=
          -scale * (u[i] * product[j] + product[i] * u[j]) + scale * scale * inner * u[i] * u[j];
    }
  }
}

}  // namespace

void SymmetricMatrix::multiply(std::span<const double> x, std::span<double> out) const {
  for (size_t i = 0; i < d_; ++i) {
    out[i] = core::dot(std::span(values_).subspan(i * d_, d_), x);
  }
}

void SymmetricMatrix::add(double factor, const SymmetricMatrix& other) {
  core::add_scaled(factor, other.values_, values_);
}

std::vector<double> SymmetricMatrix::eigenvalues() const {
  SymmetricMatrix a = *this;
  const double scale = core::dot(values_, values_);
  constexpr int kSweepsMax = 60;
  for (int sweep = 0; sweep < kSweepsMax && off_diagonal(a) > 1e-26 * scale; ++sweep) {
    for (int64_t p = 0; p < dimension(); ++p) {
      for (int64_t q = p + 1; q < dimension(); ++q) {
        rotate(a, p, q);
      }
    }
  }
  std::vector<double> values;
  for (int64_t i = 0; i < dimension(); ++i) {
    values.push_back(a.at(i, i));
  }
  std::sort(values.begin(), values.end());
  return values;
}

double SymmetricMatrix::spectral_norm() const {
  // Power iteration on A^2, whose eigenvalues have one sign. 300 steps are within 1 % for random
  // matrices, from below.
  constexpr int kSteps = 300;
  Normal normal(1);
  std::vector<double> v(d_);
  std::generate(v.begin(), v.end(), [&] { return normal(); });
  std::vector<double> once(d_);
  double square = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double length = core::norm(v);
    if (length == 0) {
      return 0;
    }
    std::transform(v.begin(), v.end(), v.begin(), [&](double value) { return value / length; });
    multiply(v, once);
    multiply(once, v);
    square = core::norm(v);
  }
  return std::sqrt(square);
}

std::vector<double> SymmetricMatrix::solve(std::span<const double> b) const {
  // Cholesky: A = G G^T.
  SymmetricMatrix g = *this;
  const int64_t d = dimension();
  for (int64_t j = 0; j < d; ++j) {
    for (int64_t i = j; i < d; ++i) {
      double sum = at(i, j);
      for (int64_t k = 0; k < j; ++k) {
        sum -= g.at(i, k) * g.at(j, k);
      }
      g.at(i, j) = i == j ? std::sqrt(sum) : sum / g.at(j, j);
    }
  }
  std::vector<double> x(b.begin(), b.end());
  const auto element = [&](int64_t i) -> double& { return x[static_cast<size_t>(i)]; };
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t k = 0; k < i; ++k) {
      element(i) -= g.at(i, k) * element(k);
    }
    element(i) /= g.at(i, i);
  }
  for (int64_t i = d - 1; i >= 0; --i) {
    for (int64_t k = i + 1; k < d; ++k) {
      element(i) -= g.at(k, i) * element(k);
    }
    element(i) /= g.at(i, i);
  }
  return x;
}

QuadraticProblem::QuadraticProblem(std::vector<Worker> workers)
    : workers_(std::move(workers)), mean_(workers_.front().a.dimension()) {
  const double share = 1.0 / static_cast<double>(workers_.size());
  std::vector<double> b(workers_.front().b.size());
  for (const Worker& worker : workers_) {
    mean_.add(share, worker.a);
    core::add_scaled(share, worker.b, b);
  }
  solution_ = mean_.solve(b);
  const std::vector<double> values = mean_.eigenvalues();
  convexity_ = values.front();
  smoothness_ = values.back();
  for (const Worker& worker : workers_) {
    SymmetricMatrix gap = worker.a;
    gap.add(-1, mean_);
    similarity_ = std::max(similarity_, gap.spectral_norm());
  }
}

double QuadraticProblem::worker_smoothness(int worker) const {
  return workers_[static_cast<size_t>(worker)].a.eigenvalues().back();
}

std::unique_ptr<convex::Objective> QuadraticProblem::objective(int worker) const {
  return std::make_unique<QuadraticObjective>(workers_[static_cast<size_t>(worker)]);
}

double QuadraticProblem::excess(std::span<const double> x) const {
  std::vector<double> off(x.begin(), x.end());
  core::add_scaled(-1, solution_, off);
  std::vector<double> product(off.size());
  mean_.multiply(off, product);
  return core::dot(off, product) / 2;
}

double QuadraticProblem::relative_gap(std::span<const double> x) const {
  return excess(x) / excess(std::vector<double>(x.size()));
}

QuadraticProblem random_quadratic(int64_t d, int workers, double mu, double smoothness,
                                  double delta, uint64_t seed) {
  Normal normal(seed);
  SymmetricMatrix a(d);
  for (int64_t i = 0; i < d; ++i) {
    a.at(i, i) =
        mu * std::pow(smoothness / mu, static_cast<double>(i) / static_cast<double>(d - 1));
  }
  std::vector<double> u(static_cast<size_t>(d));
  for (int reflection = 0; reflection < 4; ++reflection) {
    std::generate(u.begin(), u.end(), [&] { return normal(); });
    reflect(a, u);
  }
  std::vector<SymmetricMatrix> gaps(static_cast<size_t>(workers), SymmetricMatrix(d));
  SymmetricMatrix mean(d);
  for (SymmetricMatrix& gap : gaps) {
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        gap.at(i, j) = gap.at(j, i) = normal();
      }
    }
    mean.add(1.0 / workers, gap);
  }
  double largest = 0;
  for (SymmetricMatrix& gap : gaps) {
    gap.add(-1, mean);
    largest = std::max(largest, gap.spectral_norm());
  }
  std::vector<QuadraticProblem::Worker> made;
  for (const SymmetricMatrix& gap : gaps) {
    QuadraticProblem::Worker worker{a, std::vector<double>(static_cast<size_t>(d))};
    worker.a.add(largest > 0 ? delta / largest : 0, gap);
    std::generate(worker.b.begin(), worker.b.end(), [&] { return normal(); });
    made.push_back(std::move(worker));
  }
  return QuadraticProblem(std::move(made));
}

namespace {

constexpr std::array<int, 14> kGroups = {5, 8, 5, 16, 5, 7, 14, 6, 5, 2, 2, 2, 5, 41};
constexpr int64_t kRidgeDimension = 123;

// Columns that are 1 in a row: one of every group, category k with probability ~ k^-(1 + .4 (g%3)).
std::array<int64_t, kGroups.size()> one_hot_row(Normal& normal) {
  std::array<int64_t, kGroups.size()> columns{};
  int64_t begin = 0;
  for (size_t g = 0; g < kGroups.size(); ++g) {
    const double power = 1 + 0.4 * static_cast<double>(g % 3);
    double total = 0;
    for (int k = 1; k <= kGroups[g]; ++k) {
      total += std::pow(k, -power);
    }
    double left = normal.uniform() * total;
    int category = 1;
    for (; category < kGroups[g]; ++category) {
      left -= std::pow(category, -power);
      if (left < 0) {
        break;
      }
    }
    columns[g] = begin + category - 1;
    begin += kGroups[g];
  }
  return columns;
}

}  // namespace

QuadraticProblem ridge_like_a9a(int workers, int64_t rows, uint64_t seed) {
  Normal normal(seed);
  std::vector<double> w(static_cast<size_t>(kRidgeDimension));
  std::generate(w.begin(), w.end(), [&] { return normal(); });
  std::vector<QuadraticProblem::Worker> made;
  SymmetricMatrix mean(kRidgeDimension);
  for (int m = 0; m < workers; ++m) {
    QuadraticProblem::Worker worker{SymmetricMatrix(kRidgeDimension),
                                    std::vector<double>(static_cast<size_t>(kRidgeDimension))};
    const double weight = 2.0 / static_cast<double>(rows);
    for (int64_t row = 0; row < rows; ++row) {
      const auto columns = one_hot_row(normal);
      double score = normal();
      for (const int64_t column : columns) {
        score += w[static_cast<size_t>(column)];
      }
      for (const int64_t i : columns) {
        worker.b[static_cast<size_t>(i)] += score >= 0 ? weight : -weight;
        for (const int64_t j : columns) {
          worker.a.at(i, j) += weight;
        }
      }
    }
    mean.add(1.0 / workers, worker.a);
    made.push_back(std::move(worker));
  }
  const double lambda = mean.eigenvalues().back() / 100;
  for (QuadraticProblem::Worker& worker : made) {
    for (int64_t i = 0; i < kRidgeDimension; ++i) {
      worker.a.at(i, i) += 2 * lambda;
    }
  }
  return QuadraticProblem(std::move(made));
}

}  // namespace laconic::testing
