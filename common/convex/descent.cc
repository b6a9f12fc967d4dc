#include "common/convex/descent.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/layout.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {
namespace {

enum Scalar : size_t { kAge, kLastError, kScalars };

bool sends_exactly(DescentKind kind) {
  return kind == DescentKind::kGd || kind == DescentKind::kAgd;
}

absl::Status check_options(const DescentOptions& options) {
  if (!(options.step > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("descent: step is ", options.step, "; allowed: greater than 0"));
  }
  if (!(options.momentum >= 0 && options.momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("descent: momentum is ", options.momentum, "; allowed: 0 to below 1"));
  }
  if (!(options.lazy >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("descent: lazy is ", options.lazy, "; allowed: 0 or more"));
  }
  if (sends_exactly(options.kind) && options.codec.lossy()) {
    return absl::InvalidArgumentError(
        "descent: gd and agd send gradients as they are; for a codec take ef21, diana or marina");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Descent>> Descent::make(const DescentOptions& options,
                                                       collective::Communicator& communicator,
                                                       Objective& objective,
                                                       std::span<const double> start) {
  LACONIC_RETURN_IF_ERROR(check_options(options));
  LACONIC_RETURN_IF_ERROR(check_start("descent", options.anchor, communicator, objective, start));
  std::unique_ptr<Descent> made(new Descent(options, communicator, objective, start));
  const core::Layout layout = {{{"x", 1, objective.dimension()}}};
  core::CodecSpec spec = options.codec;
  spec.rank = communicator.rank();
  spec.world_size = communicator.world_size();
  LACONIC_ASSIGN_OR_RETURN(made->float32_, compress::make_codec({}, layout));
  LACONIC_ASSIGN_OR_RETURN(made->codec_, compress::make_codec(spec, layout));
  const bool needs_unbiased =
      options.kind == DescentKind::kDiana || options.kind == DescentKind::kMarina;
  if (needs_unbiased && spec.lossy() && !made->codec_->unbiased()) {
    return absl::InvalidArgumentError(
        "descent: diana and marina need an unbiased codec (rand_k scaled); for others take ef21");
  }
  if (spec.density > 0) {
    made->shrink_ = 1 / spec.density;
  }
  return made;
}

Descent::Descent(const DescentOptions& options, collective::Communicator& communicator,
                 Objective& objective, std::span<const double> start)
    : Method(communicator, options.anchor, objective),
      options_(options),
      x_(start.begin(), start.end()),
      before_(x_),
      memory_(vector()),
      last_(vector()),
      moves_(kMovesKept),
      scalars_(kScalars),
      point_(x_),
      gradient_(vector()),
      sent_(vector()),
      sum_(vector()),
      estimate_(vector()),
      step_(vector()) {}

std::vector<std::span<double>> Descent::state() {
  return {x_, before_, memory_, last_, moves_, scalars_};
}

absl::Status Descent::step() {
  report_ = {};
  for (size_t i = 0; i < x_.size(); ++i) {
    point_[i] = x_[i] + options_.momentum * (x_[i] - before_[i]);
  }
  LACONIC_RETURN_IF_ERROR(objective_.gradient(point_, gradient_));
  switch (options_.kind) {
    case DescentKind::kGd:
    case DescentKind::kAgd:
      LACONIC_RETURN_IF_ERROR(exact());
      break;
    case DescentKind::kDiana:
      LACONIC_RETURN_IF_ERROR(diana());
      break;
    case DescentKind::kEf21:
      LACONIC_RETURN_IF_ERROR(ef21());
      break;
    case DescentKind::kMarina:
      LACONIC_RETURN_IF_ERROR(marina());
      break;
    case DescentKind::kLaq:
      LACONIC_RETURN_IF_ERROR(laq());
      break;
  }
  return move();
}

absl::Status Descent::exact() {
  LACONIC_RETURN_IF_ERROR(
      star_.gather_sum(*float32_, {.v = gradient_, .seed = options_.seed}, sum_));
  estimate_ = sum_;
  return absl::OkStatus();
}

absl::Status Descent::send_difference(bool skip) {
  if (!star_.is_anchor()) {
    core::add_scaled(-1, memory_, gradient_);
  }
  return star_.gather_sum(
      *codec_,
      {.v = gradient_, .seed = message_seed(options_.seed, 0), .skip = skip, .sent = sent_}, sum_);
}

absl::Status Descent::diana() {
  LACONIC_RETURN_IF_ERROR(send_difference(/*skip=*/false));
  const std::vector<double>& message = star_.is_anchor() ? sum_ : sent_;
  estimate_ = memory_;
  core::add_scaled(1, message, estimate_);
  core::add_scaled(1 / shrink_, message, memory_);
  return absl::OkStatus();
}

absl::Status Descent::ef21() {
  LACONIC_RETURN_IF_ERROR(send_difference(/*skip=*/false));
  core::add_scaled(1, star_.is_anchor() ? sum_ : sent_, memory_);
  estimate_ = memory_;
  return absl::OkStatus();
}

absl::Status Descent::marina() {
  const std::vector<double> gradient = gradient_;
  const bool dense =
      iterations() == 0 ||
      core::Random(options_.seed, static_cast<uint64_t>(iterations())).uniform() * shrink_ < 1;
  if (!dense && !star_.is_anchor()) {
    core::add_scaled(-1, last_, gradient_);
  }
  LACONIC_RETURN_IF_ERROR(star_.gather_sum(
      dense ? *float32_ : *codec_,
      {.v = gradient_, .seed = message_seed(options_.seed, 0), .sent = sent_}, sum_));
  if (dense) {
    std::fill(memory_.begin(), memory_.end(), 0.0);
  }
  core::add_scaled(1, star_.is_anchor() ? sum_ : sent_, memory_);
  last_ = gradient;
  gradient_ = gradient;
  estimate_ = memory_;
  return absl::OkStatus();
}

absl::Status Descent::laq() {
  bool skip = false;
  double error = 0;
  if (!star_.is_anchor() && iterations() > 0) {
    // What the message would be decides whether it is worth sending.
    std::vector<double> difference = gradient_;
    core::add_scaled(-1, memory_, difference);
    LACONIC_RETURN_IF_ERROR(
        star_.round_trip(*codec_, message_seed(options_.seed, 0), difference, sent_));
    error = core::distance(difference, sent_);
    error *= error;
    double moved = 0;
    for (const double move : moves_) {
      moved += move / static_cast<double>(kMovesKept);
    }
    const double threshold = options_.lazy * moved / (options_.step * options_.step) +
                             3 * (error + scalars_[kLastError]);
    skip = core::dot(sent_, sent_) < threshold && scalars_[kAge] < kSilentRoundsMax;
  }
  LACONIC_RETURN_IF_ERROR(send_difference(skip));
  scalars_[kAge] = skip ? scalars_[kAge] + 1 : 0;
  scalars_[kLastError] = skip ? scalars_[kLastError] : error;
  core::add_scaled(1, star_.is_anchor() ? sum_ : sent_, memory_);
  estimate_ = memory_;
  return absl::OkStatus();
}

absl::Status Descent::move() {
  if (star_.is_anchor()) {
    // The anchor's own gradient needs no message.
    for (size_t i = 0; i < x_.size(); ++i) {
      estimate_[i] = (estimate_[i] + gradient_[i]) / star_.world_size();
      step_[i] = point_[i] - options_.step * estimate_[i] - x_[i];
    }
    report_.gradient_norm = core::norm(estimate_);
    if (!std::isfinite(report_.gradient_norm)) {
      return absl::OutOfRangeError(absl::StrCat("descent diverged in iteration ", iterations() + 1,
                                                ": give a smaller step than ", options_.step));
    }
  }
  LACONIC_RETURN_IF_ERROR(star_.broadcast(*float32_, options_.seed, step_));
  before_ = x_;
  core::add_scaled(1, step_, x_);
  moves_.pop_back();
  moves_.insert(moves_.begin(), core::dot(step_, step_));
  return absl::OkStatus();
}

}  // namespace laconic::convex
