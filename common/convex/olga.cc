#include "common/convex/olga.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/convex/prox.h"
#include "common/core/layout.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {
namespace {

// The secant estimate is about half of the norm, for random matrices as for logistic regression.
constexpr double kSecantMargin = 1.6;
constexpr double kSimilarityDecay = 0.95;
// |grad f(y)| may grow so much in two iterations before the steps count as too long.
constexpr double kGrowthMax = 2;

absl::Status check_options(const OlgaOptions& options) {
  const auto refuse = [](std::string_view what, double value, std::string_view allowed) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(what.data(), what.size()), " is ", value,
                     "; allowed: ", absl::string_view(allowed.data(), allowed.size())));
  };
  if (!(options.convexity > 0)) {
    return refuse("olga: convexity (mu)", options.convexity, "greater than 0");
  }
  if (!(options.similarity > 0)) {
    return refuse("olga: similarity (delta)", options.similarity, "greater than 0");
  }
  if (!(options.scale > 0)) {
    return refuse("olga: scale (c)", options.scale, "greater than 0");
  }
  if (!(options.tolerance > 0)) {
    return refuse("olga: tolerance", options.tolerance, "greater than 0");
  }
  if (!(options.lazy >= 0) || (options.lazy > 0 && !options.error_feedback)) {
    return refuse("olga: lazy", options.lazy, "0, or more with error feedback (EF-OLGA)");
  }
  if (options.rounds < 0) {
    return refuse("olga: rounds (1/p)", static_cast<double>(options.rounds), "0 or more");
  }
  return absl::OkStatus();
}

// omega, which the formulas want at 1 or more (E8). Stochastic rounding of every value in 8 or 4
// bits errs by a few percent at most.
double variance_constant(const core::CodecSpec& spec, double gamma) {
  return spec.kind == core::CodecKind::kQuantize ? 1 : gamma;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Olga>> Olga::make(const OlgaOptions& options,
                                                 collective::Communicator& communicator,
                                                 Objective& objective,
                                                 std::span<const double> start) {
  LACONIC_RETURN_IF_ERROR(check_options(options));
  LACONIC_RETURN_IF_ERROR(check_start("olga", options.anchor, communicator, objective, start));
  std::unique_ptr<Olga> made(new Olga(options, communicator, objective, start));
  const core::Layout layout = {{{"x", 1, objective.dimension()}}};
  core::CodecSpec inner = options.inner;
  inner.rank = communicator.rank();
  inner.world_size = communicator.world_size();
  LACONIC_ASSIGN_OR_RETURN(made->float32_, compress::make_codec({}, layout));
  LACONIC_ASSIGN_OR_RETURN(made->inner_, compress::make_codec(inner, layout));
  LACONIC_ASSIGN_OR_RETURN(made->gather_, compress::make_codec(options.gather, layout));
  LACONIC_ASSIGN_OR_RETURN(made->downlink_, compress::make_codec(options.downlink, layout));
  if (!options.error_feedback && options.inner.lossy() && !made->inner_->unbiased()) {
    return absl::InvalidArgumentError(
        "olga: the codec is biased, and the method without error feedback needs an unbiased one: "
        "take ef_olga, or rand_k or perm_k scaled");
  }
  made->problem_.workers = communicator.world_size();
  made->problem_.convexity = options.convexity;
  made->problem_.gamma = core::shrink_factor(inner, layout);
  made->problem_.omega = variance_constant(options.inner, made->problem_.gamma);
  if (options.rounds > 0) {
    made->problem_.gamma = static_cast<double>(options.rounds);
  }
  return made;
}

Olga::Olga(const OlgaOptions& options, collective::Communicator& communicator, Objective& objective,
           std::span<const double> start)
    : Method(communicator, options.anchor, objective),
      options_(options),
      y_(start.begin(), start.end()),
      z_(y_),
      memory_(vector()),
      scalars_(kScalars),
      reference_{vector(), vector(), vector()},
      x_(vector()),
      q_(vector()),
      d_(vector()),
      shift_(vector()),
      sum_(vector()),
      solved_(vector()),
      gradient_(vector()),
      residual_(vector()),
      sent_(vector()),
      end_own_(vector()),
      end_mean_(vector()) {
  scalars_[kSimilarity] = options.similarity;
  scalars_[kSmoothness] = options.smoothness;
}

std::vector<std::span<double>> Olga::state() {
  return {y_, z_, memory_, scalars_};
}

absl::Status Olga::begin() {
  if (begun_) {
    return absl::OkStatus();
  }
  begun_ = true;
  if (star_.is_anchor() && scalars_[kSmoothness] <= 0) {
    LACONIC_ASSIGN_OR_RETURN(scalars_[kSmoothness],
                             initial_smoothness(objective_, y_, options_.seed));
  }
  return absl::OkStatus();
}

void Olga::choose_constants() {
  problem_.similarity = scalars_[kSimilarity];
  constants_ = !options_.theory          ? olga_tuned(problem_, options_.scale)
               : options_.error_feedback ? ef_olga_theory(problem_)
                                         : olga_theory(problem_);
}

absl::Status Olga::step() {
  LACONIC_RETURN_IF_ERROR(begin());
  if (options_.lazy > 0) {  // Only the lazy rule needs delta at the workers.
    LACONIC_ASSIGN_OR_RETURN(scalars_[kSimilarity], star_.broadcast(scalars_[kSimilarity]));
  }
  choose_constants();
  report_ = {.similarity = scalars_[kSimilarity], .theta = constants_.theta};
  LACONIC_RETURN_IF_ERROR(share_reference());
  LACONIC_RETURN_IF_ERROR(full_gradient(x_, reference_.anchor, reference_.gradient));
  std::fill(q_.begin(), q_.end(), 0.0);
  std::fill(d_.begin(), d_.end(), 0.0);
  std::fill(residual_.begin(), residual_.end(), 0.0);
  const int64_t rounds =
      inner_rounds(constants_.p, options_.geometric, options_.seed, iterations());
  for (int64_t round = 0; round < rounds; ++round) {
    LACONIC_RETURN_IF_ERROR(inner_round(round, /*last=*/round + 1 == rounds));
  }
  report_.inner_rounds = rounds;
  y_ = x_;
  LACONIC_RETURN_IF_ERROR(full_gradient(y_, end_own_, end_mean_));
  if (star_.is_anchor()) {
    report_.gradient_norm = core::norm(end_mean_);
    if (!std::isfinite(report_.gradient_norm)) {
      return absl::OutOfRangeError(absl::StrCat("olga diverged in iteration ", iterations() + 1,
                                                ": the gradient is not finite; give a larger "
                                                "similarity (delta) or a smaller scale"));
    }
    move_momentum();
    guard_against_divergence();
    report_.divergence_guards = static_cast<int64_t>(scalars_[kGuards]);
  }
  return absl::OkStatus();
}

absl::Status Olga::share_reference() {
  if (star_.is_anchor()) {
    for (size_t i = 0; i < x_.size(); ++i) {
      x_[i] = constants_.tau * z_[i] + (1 - constants_.tau) * y_[i];
    }
  }
  // All know y: the difference is small, and all adopt it as it was sent.
  if (star_.is_anchor()) {
    core::add_scaled(-1, y_, x_);
  }
  LACONIC_RETURN_IF_ERROR(star_.broadcast(*downlink_, options_.seed, x_));
  core::add_scaled(1, y_, x_);
  reference_.point = x_;
  return absl::OkStatus();
}

absl::Status Olga::full_gradient(std::span<const double> x, std::span<double> own,
                                 std::span<double> mean) {
  LACONIC_RETURN_IF_ERROR(objective_.gradient(x, gradient_));
  const bool difference = options_.gather.lossy();
  if (!star_.is_anchor() && difference) {
    core::add_scaled(-1, memory_, gradient_);
  }
  LACONIC_RETURN_IF_ERROR(
      star_.gather_sum(*gather_, {.v = gradient_, .seed = options_.seed, .sent = sent_}, sum_));
  if (!difference) {
    std::fill(memory_.begin(), memory_.end(), 0.0);
  }
  // The anchor keeps the sum of the others' memories, and its own gradient exactly.
  core::add_scaled(1, star_.is_anchor() ? sum_ : sent_, memory_);
  if (star_.is_anchor()) {
    for (size_t i = 0; i < own.size(); ++i) {
      own[i] = gradient_[i];
      mean[i] = (memory_[i] + own[i]) / star_.world_size();
    }
  }
  return absl::OkStatus();
}

absl::Status Olga::inner_round(int64_t round, bool last) {
  // At x0 every difference is 0, unless the memories are not the gradients: nothing to say.
  if (round > 0 || options_.gather.lossy()) {
    LACONIC_RETURN_IF_ERROR(gather_differences(round, last));
  } else {
    std::fill(sum_.begin(), sum_.end(), 0.0);
  }
  if (star_.is_anchor()) {
    LACONIC_RETURN_IF_ERROR(solve_subproblem());
  }
  return share_step(last);
}

absl::Status Olga::gather_differences(int64_t round, bool last) {
  const bool flush = options_.error_feedback && last;
  // Parts of one permutation need one seed; independent draws need one each.
  const bool common = options_.inner.kind == core::CodecKind::kPermK;
  VectorStar::Message message = {
      .v = gradient_,
      .seed = common ? round_seed(options_.seed, round) : message_seed(options_.seed, round)};
  if (!star_.is_anchor()) {
    LACONIC_RETURN_IF_ERROR(objective_.gradient(x_, gradient_));
    core::add_scaled(-1, memory_, gradient_);
    core::add_scaled(-1, q_, gradient_);
    if (options_.error_feedback) {
      message.residual = residual_;
    }
    if (options_.lazy > 0 && !flush) {
      const double moved = core::distance(x_, reference_.point) * scalars_[kSimilarity];
      message.silent_below = options_.lazy * moved * moved;
    }
  }
  return star_.gather_sum(flush ? *float32_ : *inner_, message, sum_);
}

absl::Status Olga::solve_subproblem() {
  for (size_t i = 0; i < shift_.size(); ++i) {
    const double unsaid = d_[i] - q_[i];  // The anchor's own message, exact.
    shift_[i] = (sum_[i] + unsaid) / star_.world_size() - unsaid - reference_.anchor[i] +
                reference_.gradient[i];
  }
  if (options_.adapt_similarity) {
    raise_similarity_where_messages_show_it();
  }
  for (;;) {
    const double curvature = 1 / constants_.theta;
    LACONIC_ASSIGN_OR_RETURN(
        const ProxResult result,
        minimize_prox(busy_objective_,
                      {.shift = shift_,
                       .center = x_,
                       .theta = constants_.theta,
                       // f_1 may be non-convex by delta - mu.
                       .convexity = std::max(curvature + options_.convexity - scalars_[kSimilarity],
                                             options_.convexity),
                       .tolerance = options_.tolerance,
                       .gradient_noise = options_.gradient_noise},
                      scalars_[kSmoothness], solved_, gradient_));
    report_.prox_steps += result.steps;
    if (result.convex) {
      return absl::OkStatus();
    }
    // f is convex, so -f_1 curves by no more than delta: delta must be larger than it was taken
    // for.
    scalars_[kSimilarity] *= 2;
    choose_constants();
  }
}

// The mean message is about (Hess f - Hess f_1)(x - x0), and the noise of compression on top.
void Olga::raise_similarity_where_messages_show_it() {
  const double moved = core::distance(x_, reference_.point);
  if (moved == 0) {
    return;
  }
  double squares = 0;
  for (size_t i = 0; i < sum_.size(); ++i) {
    const double message = (sum_[i] + d_[i] - q_[i]) / star_.world_size();
    squares += message * message;
  }
  const double noise = 1 + problem_.omega / star_.world_size();
  const double seen = std::sqrt(squares / noise) / moved;
  if (seen > scalars_[kSimilarity]) {
    scalars_[kSimilarity] = kSecantMargin * seen;
    choose_constants();
  }
}

absl::Status Olga::share_step(bool last) {
  if (star_.is_anchor()) {
    core::add_scaled(-1, x_, solved_);
  }
  // All adopt the step as it was sent: what was lost of it is one more inexactness of the solver.
  LACONIC_RETURN_IF_ERROR(star_.broadcast(*downlink_, options_.seed, solved_));
  core::add_scaled(1, solved_, x_);
  if (last) {
    return absl::OkStatus();
  }
  if (star_.is_anchor()) {
    LACONIC_RETURN_IF_ERROR(objective_.gradient(x_, d_));
    core::add_scaled(-1, reference_.anchor, d_);
    q_ = d_;
  }
  return star_.broadcast(*downlink_, options_.seed, q_);
}

void Olga::move_momentum() {
  const double inverse = 1 / constants_.alpha;
  double gap = 0;  // |t|^2: what the secant estimate of delta needs
  for (size_t i = 0; i < z_.size(); ++i) {
    const double t = (reference_.anchor[i] - reference_.gradient[i]) - (end_own_[i] - end_mean_[i]);
    const double g = constants_.p * (t + (reference_.point[i] - y_[i]) / constants_.theta);
    z_[i] = (z_[i] * inverse + options_.convexity * y_[i] - g) / (inverse + options_.convexity);
    gap += t * t;
  }
  const double moved = core::distance(reference_.point, y_);
  if (options_.adapt_similarity && moved > 0) {
    scalars_[kSimilarity] =
        std::max(kSecantMargin * std::sqrt(gap) / moved, kSimilarityDecay * scalars_[kSimilarity]);
  }
}

void Olga::guard_against_divergence() {
  const double norm_two_ago = scalars_[kNormBefore];
  scalars_[kNormBefore] = scalars_[kLastNorm];
  scalars_[kLastNorm] = report_.gradient_norm;
  if (norm_two_ago > 0 && report_.gradient_norm > kGrowthMax * norm_two_ago) {
    scalars_[kSimilarity] *= 2;
    z_ = y_;
    scalars_[kLastNorm] = 0;  // Two iterations pass before it is asked again.
    scalars_[kNormBefore] = 0;
    ++scalars_[kGuards];
  }
}

}  // namespace laconic::convex
