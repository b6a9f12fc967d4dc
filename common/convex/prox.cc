#include "common/convex/prox.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {
namespace {

// A measured curvature is a lower bound; with this margin few steps are taken too long.
constexpr double kMargin = 1.1;
constexpr double kInitialMargin = 1.3;
constexpr int kInitialSteps = 10;

double momentum(double smoothness, double convexity) {
  const double root = std::sqrt(smoothness / convexity);
  return root <= 1 ? 0 : (root - 1) / (root + 1);
}

// What two gradients show of the Hessian between their points.
struct Curvature {
  double largest = 0;  // a lower bound of the norm
  double along = 0;    // in the direction from one point to the other
};
Curvature curvature_between(std::span<const double> a, std::span<const double> gradient_a,
                            std::span<const double> b, std::span<const double> gradient_b) {
  const double moved = core::distance(a, b);
  if (moved == 0) {
    return {};
  }
  double inner = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    inner += (gradient_a[i] - gradient_b[i]) * (a[i] - b[i]);
  }
  return {core::distance(gradient_a, gradient_b) / moved, inner / (moved * moved)};
}

}  // namespace

absl::StatusOr<ProxResult> minimize_prox(Objective& f_1, const ProxProblem& problem,
                                         double& smoothness, std::span<double> v,
                                         std::span<double> gradient) {
  const size_t d = v.size();
  const double curvature = 1 / problem.theta;
  std::vector<double> before(problem.center.begin(), problem.center.end());
  std::vector<double> last_point(d);
  std::vector<double> last_gradient(d);
  std::vector<double> slope(d);
  std::copy(before.begin(), before.end(), v.begin());
  ProxResult result;
  for (;; ++result.steps) {
    LACONIC_RETURN_IF_ERROR(f_1.gradient(v, gradient));
    for (size_t i = 0; i < d; ++i) {
      slope[i] = problem.shift[i] + (v[i] - problem.center[i]) * curvature + gradient[i];
    }
    const double steepness = core::norm(slope);
    if (!std::isfinite(steepness)) {
      return absl::OutOfRangeError(
          absl::StrCat("the anchor worker's subproblem diverged after ", result.steps,
                       " steps: a gradient is not finite; lower the step, or look at the data"));
    }
    const double reached = core::distance(v, problem.center) * curvature;
    if (steepness <=
        std::max(problem.tolerance * reached, problem.gradient_noise * core::norm(gradient))) {
      return result;
    }
    if (result.steps == kProxStepsMax) {
      result.converged = false;
      return result;
    }
    if (result.steps > 0) {
      const Curvature seen = curvature_between(v, gradient, last_point, last_gradient);
      smoothness = std::max(smoothness, kMargin * seen.largest);
      result.convex = seen.along + curvature > 0;
      if (!result.convex) {
        return result;
      }
    }
    std::copy(v.begin(), v.end(), last_point.begin());
    std::copy(gradient.begin(), gradient.end(), last_gradient.begin());
    const double steep = smoothness + curvature;
    const double beta = momentum(steep, problem.convexity);
    for (size_t i = 0; i < d; ++i) {
      const double next = v[i] - slope[i] / steep;
      v[i] = next + beta * (next - before[i]);
      before[i] = next;
    }
  }
}

absl::StatusOr<double> estimate_smoothness(Objective& f, std::span<const double> x, int steps,
                                           uint64_t seed) {
  const size_t d = x.size();
  core::Random random(seed);
  std::vector<double> direction(d);
  for (double& value : direction) {
    value = random.uniform() - 0.5;
  }
  std::vector<double> origin(d);
  LACONIC_RETURN_IF_ERROR(f.gradient(x, origin));
  std::vector<double> point(d);
  std::vector<double> difference(d);
  // Small beside x, large beside the rounding of float32 gradients.
  const double length = 1e-3 * std::max(1.0, core::norm(x));
  double curvature = 0;
  for (int step = 0; step < steps; ++step) {
    const double scale = length / core::norm(direction);
    for (size_t i = 0; i < d; ++i) {
      point[i] = x[i] + scale * direction[i];
    }
    LACONIC_RETURN_IF_ERROR(f.gradient(point, difference));
    core::add_scaled(-1, origin, difference);
    const double change = core::norm(difference);
    if (change == 0) {
      break;  // No curvature this way: a linear f.
    }
    curvature = std::max(curvature, change / length);
    direction = difference;
  }
  return curvature;
}

absl::StatusOr<double> initial_smoothness(Objective& f_1, std::span<const double> x,
                                          uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(const double curvature,
                           estimate_smoothness(f_1, x, kInitialSteps, seed));
  return kInitialMargin * curvature;
}

}  // namespace laconic::convex
