#include "common/convex/aeg.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/convex/prox.h"
#include "common/core/layout.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {

absl::StatusOr<std::unique_ptr<Aeg>> Aeg::make(const AegOptions& options,
                                               collective::Communicator& communicator,
                                               Objective& objective,
                                               std::span<const double> start) {
  if (!(options.convexity > 0) || !(options.similarity > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("aeg: convexity (mu) is ", options.convexity,
                                                   " and similarity (delta) ", options.similarity,
                                                   "; allowed: greater than 0"));
  }
  LACONIC_RETURN_IF_ERROR(check_start("aeg", options.anchor, communicator, objective, start));
  std::unique_ptr<Aeg> made(new Aeg(options, communicator, objective, start));
  LACONIC_ASSIGN_OR_RETURN(made->float32_,
                           compress::make_codec({}, {{{"x", 1, objective.dimension()}}}));
  return made;
}

Aeg::Aeg(const AegOptions& options, collective::Communicator& communicator, Objective& objective,
         std::span<const double> start)
    : Method(communicator, options.anchor, objective),
      options_(options),
      tau_(std::min(1.0, std::sqrt(options.convexity / options.similarity) / 2)),
      theta_(1 / (2 * options.similarity)),
      eta_(std::min(1 / (2 * options.convexity),
                    1 / (2 * std::sqrt(options.convexity * options.similarity)))),
      x_(start.begin(), start.end()),
      xf_(x_),
      smoothness_(1, options.smoothness),
      xg_(vector()),
      own_(vector()),
      mean_(vector()),
      solved_(vector()) {}

absl::Status Aeg::full_gradient(std::span<const double> point) {
  LACONIC_RETURN_IF_ERROR(objective_.gradient(point, own_));
  LACONIC_RETURN_IF_ERROR(star_.gather_sum(*float32_, {.v = own_, .seed = options_.seed}, mean_));
  for (size_t i = 0; i < mean_.size(); ++i) {
    mean_[i] = (mean_[i] + own_[i]) / star_.world_size();
  }
  return absl::OkStatus();
}

absl::Status Aeg::step() {
  report_ = {.similarity = options_.similarity, .theta = theta_};
  if (star_.is_anchor()) {
    if (smoothness_[0] <= 0) {
      LACONIC_ASSIGN_OR_RETURN(smoothness_[0], initial_smoothness(objective_, xf_, options_.seed));
    }
    for (size_t i = 0; i < xg_.size(); ++i) {
      xg_[i] = tau_ * (x_[i] - xf_[i]);
    }
  }
  // Points travel as differences to xf, which all know.
  LACONIC_RETURN_IF_ERROR(star_.broadcast(*float32_, options_.seed, xg_));
  core::add_scaled(1, xf_, xg_);
  LACONIC_RETURN_IF_ERROR(full_gradient(xg_));
  if (star_.is_anchor()) {
    core::add_scaled(-1, own_, mean_);  // grad(f - f_1)(xg)
    // |grad A(xf)|^2 <= delta^2/3 |xg - argmin A|^2, bounded by what is known.
    LACONIC_ASSIGN_OR_RETURN(
        const ProxResult result,
        minimize_prox(busy_objective_,
                      {.shift = mean_,
                       .center = xg_,
                       .theta = theta_,
                       .convexity = std::max(options_.similarity, options_.convexity),
                       .tolerance = 0.1,
                       .gradient_noise = options_.gradient_noise},
                      smoothness_[0], solved_, own_));
    report_.prox_steps = result.steps;
    core::add_scaled(-1, xf_, solved_);
  }
  LACONIC_RETURN_IF_ERROR(star_.broadcast(*float32_, options_.seed, solved_));
  core::add_scaled(1, solved_, xf_);
  LACONIC_RETURN_IF_ERROR(full_gradient(xf_));
  if (!star_.is_anchor()) {
    return absl::OkStatus();
  }
  report_.gradient_norm = core::norm(mean_);
  if (!std::isfinite(report_.gradient_norm)) {
    return absl::OutOfRangeError(absl::StrCat("aeg diverged in iteration ", iterations() + 1,
                                              ": give a larger similarity (delta)"));
  }
  for (size_t i = 0; i < x_.size(); ++i) {
    x_[i] += eta_ * (options_.convexity * (xf_[i] - x_[i]) - mean_[i]);
  }
  return absl::OkStatus();
}

}  // namespace laconic::convex
