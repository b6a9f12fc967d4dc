// The anchor worker's subproblem: a shifted, regularized look at its own data.
//
//   q(v) = <t, v - x> + |v - x|^2 / (2 theta) + f_1(v)
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "common/convex/objective.h"

namespace laconic::convex {

struct ProxProblem {
  std::span<const double> shift;   // t, [d]
  std::span<const double> center;  // x, [d]
  double theta = 1;                // > 0
  double convexity = 0;            // q is so strongly convex, > 0
  // Accuracy asked for: |grad q(v)| <= tolerance |v - x| / theta. Costs, in uplink of OLGA: 0.1 up
  // to 3 %, 0.25 10 %, 0.5 25 % (reference, similarity-methods 7.2).
  double tolerance = 0.1;
  // The gradients of f_1 are exact to this share of their norm; no more is asked of q.
  double gradient_noise = 1e-13;
};

struct ProxResult {
  int steps = 0;
  bool converged = true;  // false: kProxStepsMax steps did not do
  bool convex = true;  // false: q curves downwards on the way, theta is too large; v is of no use
};
inline constexpr int kProxStepsMax = 2000;

// Nesterov's method for strongly convex q, started at the center.
//
//   smoothness  in and out: L_1 of f_1; raised where two gradients show that it is larger
//   v           [d], out: where the tolerance was met
//   gradient    [d], out: grad f_1(v)
//
// Cost: about sqrt(1 + theta L_1) ln(1 / tolerance) gradients of f_1.
// Errors: those of f_1; OutOfRange if the gradient is not finite.
// Source: Nesterov, "Lectures on Convex Optimization", 2018, 2.2.22 (constant momentum).
absl::StatusOr<ProxResult> minimize_prox(Objective& f_1, const ProxProblem& problem,
                                         double& smoothness, std::span<double> v,
                                         std::span<double> gradient);

// The largest curvature of f near x: power iteration on differences of gradients.
//
//   steps  each costs one gradient; 10 give 95 % of the norm of a random matrix, 20 give 98 %
//   seed   of the start
//
// A lower bound: multiply by a margin. Errors: those of f. Source: similarity-methods 11.2.
absl::StatusOr<double> estimate_smoothness(Objective& f, std::span<const double> x, int steps,
                                           uint64_t seed);

// L_1 to start minimize_prox() with, where none is given: an estimate with a margin.
absl::StatusOr<double> initial_smoothness(Objective& f_1, std::span<const double> x, uint64_t seed);

}  // namespace laconic::convex
