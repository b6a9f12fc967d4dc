#include "common/convex/olga_constants.h"

#include <algorithm>
#include <cmath>

#include "common/core/random.h"

namespace laconic::convex {

OlgaConstants olga_theory(const OlgaProblem& problem) {
  OlgaConstants made;
  made.p = 1 / problem.gamma;
  made.theta = std::min(std::sqrt(made.p * problem.workers) / (8 * std::sqrt(problem.omega)), 0.5) /
               problem.similarity;
  made.tau = std::min(std::sqrt(problem.convexity * made.theta / made.p), 1.0) / 4;
  made.alpha = made.theta / (8 * made.p * made.tau);
  return made;
}

OlgaConstants ef_olga_theory(const OlgaProblem& problem) {
  OlgaConstants made;
  made.p = 1 / problem.gamma;
  made.theta = std::min(std::pow(made.p, 1.5) / 24, 1.0 / 6) / problem.similarity;
  made.tau = std::min(std::sqrt(problem.convexity * made.theta / made.p), 1.0) / 18;
  made.alpha = made.theta / (36 * made.p * made.tau);
  return made;
}

OlgaConstants olga_tuned(const OlgaProblem& problem, double c) {
  OlgaConstants made;
  made.p = 1 / problem.gamma;
  made.theta =
      c * std::min(std::sqrt(made.p * problem.workers / problem.omega), 1.0) / problem.similarity;
  made.tau = std::min(std::sqrt(problem.convexity * made.theta / made.p), 0.5);
  made.alpha = made.theta / (2 * made.p * made.tau);
  return made;
}

int64_t inner_rounds(double p, bool geometric, uint64_t seed, int64_t iteration) {
  if (!geometric) {
    return std::max<int64_t>(1, std::llround(1 / p));
  }
  if (p >= 1) {
    return 1;
  }
  // Inversion: P(N > k) = (1 - p)^k.
  const double u = core::Random(seed, static_cast<uint64_t>(iteration)).uniform();
  return 1 + static_cast<int64_t>(std::floor(std::log1p(-u) / std::log1p(-p)));
}

}  // namespace laconic::convex
