#include "worker/trainer/convex_method.h"

#include <algorithm>
#include <cmath>

#include "common/convex/aeg.h"
#include "common/convex/descent.h"
#include "common/convex/estimate.h"
#include "common/convex/olga.h"
#include "common/convex/prox.h"
#include "common/core/status_macros.h"
#include "common/wire/job_spec.h"

namespace laconic::trainer {
namespace {

using convex::Descent;
using convex::DescentKind;
using convex::DescentOptions;
using v1::Convex;

// What every method is made of.
struct Parts {
  const Convex& spec;
  core::CodecSpec codec;
  uint64_t seed = 0;
  collective::Communicator& communicator;
  convex::Objective& objective;
  std::span<const double> start;
  int anchor = 0;
  int64_t samples = 0;
};

core::CodecSpec codec_of_bits(int32_t bits) {
  return bits == 32 ? core::CodecSpec{}
                    : core::CodecSpec{.kind = core::CodecKind::kQuantize, .bits = bits};
}

absl::StatusOr<ConvexMethod> make_olga(const Parts& parts) {
  const Convex& spec = parts.spec;
  ConvexMethod made{.method = {}, .smoothness = 0, .similarity = spec.similarity()};
  if (parts.communicator.rank() == parts.anchor) {
    LACONIC_ASSIGN_OR_RETURN(made.smoothness,
                             convex::initial_smoothness(parts.objective, parts.start, parts.seed));
  }
  if (!spec.has_similarity()) {
    // The anchor's alone counts: where workers need delta it is sent to them.
    made.similarity =
        std::max(spec.convexity(), made.smoothness / std::sqrt(static_cast<double>(parts.samples)));
    made.estimated = true;
  }
  LACONIC_ASSIGN_OR_RETURN(
      made.method, convex::Olga::make({.anchor = parts.anchor,
                                       .convexity = spec.convexity(),
                                       .similarity = made.similarity,
                                       .adapt_similarity = spec.adapt_similarity(),
                                       .theory = spec.theory(),
                                       .scale = spec.theory() ? 1 : spec.step_scale(),
                                       .rounds = spec.inner_rounds(),
                                       .geometric = spec.geometric(),
                                       .smoothness = made.smoothness,
                                       .seed = parts.seed,
                                       .inner = parts.codec,
                                       .error_feedback = spec.algorithm() == Convex::EF_OLGA,
                                       .lazy = spec.lazy(),
                                       .gather = codec_of_bits(spec.gather_bits()),
                                       .downlink = codec_of_bits(spec.downlink_bits())},
                                      parts.communicator, parts.objective, parts.start));
  return made;
}

absl::StatusOr<ConvexMethod> make_aeg(const Parts& parts) {
  ConvexMethod made{.method = {}, .similarity = parts.spec.similarity()};
  if (!parts.spec.has_similarity()) {
    LACONIC_ASSIGN_OR_RETURN(made.similarity, convex::estimate_similarity(
                                                  parts.communicator, parts.anchor, parts.objective,
                                                  parts.start, parts.spec.convexity(), parts.seed));
    made.estimated = true;
  }
  LACONIC_ASSIGN_OR_RETURN(made.method,
                           convex::Aeg::make({.anchor = parts.anchor,
                                              .convexity = parts.spec.convexity(),
                                              .similarity = made.similarity,
                                              .seed = parts.seed},
                                             parts.communicator, parts.objective, parts.start));
  return made;
}

DescentKind kind_of(Convex::Algorithm algorithm) {
  switch (algorithm) {
    case Convex::AGD:
      return DescentKind::kAgd;
    case Convex::DIANA:
      return DescentKind::kDiana;
    case Convex::MARINA:
      return DescentKind::kMarina;
    case Convex::EF21:
      return DescentKind::kEf21;
    case Convex::LAQ:
      return DescentKind::kLaq;
    default:
      return DescentKind::kGd;
  }
}

// 1 / (step L), by the algorithm's rule.
double step_divisor(const Parts& parts) {
  const double variance = parts.codec.density > 0 ? 1 / parts.codec.density - 1 : 0;
  const double workers = parts.communicator.world_size();
  switch (parts.spec.algorithm()) {
    case Convex::DIANA:
      return 1 + 4 * variance / workers;
    case Convex::MARINA:
      // sqrt((1 - p) w / (p M)) with p = K/d.
      return 1 + variance / std::sqrt(workers);
    case Convex::EF21:
      return 4;
    default:
      return 1;
  }
}

absl::StatusOr<ConvexMethod> make_descent(const Parts& parts) {
  const Convex& spec = parts.spec;
  ConvexMethod made{.method = {}, .smoothness = spec.smoothness()};
  if (!spec.has_smoothness()) {
    LACONIC_ASSIGN_OR_RETURN(made.smoothness, convex::estimate_mean_smoothness(
                                                  parts.communicator, parts.anchor, parts.objective,
                                                  parts.start, parts.seed));
    made.estimated = true;
  }
  DescentOptions options{.kind = kind_of(spec.algorithm()),
                         .anchor = parts.anchor,
                         .step = spec.step_scale() / (made.smoothness * step_divisor(parts)),
                         .lazy = spec.algorithm() == Convex::LAQ ? spec.lazy() : 0,
                         .codec = parts.codec,
                         .seed = parts.seed};
  if (spec.algorithm() == Convex::AGD) {
    const double root = std::sqrt(std::max(1.0, 1 / (options.step * spec.convexity())));
    options.momentum = (root - 1) / (root + 1);
  }
  LACONIC_ASSIGN_OR_RETURN(
      made.method, Descent::make(options, parts.communicator, parts.objective, parts.start));
  return made;
}

}  // namespace

absl::StatusOr<ConvexMethod> make_convex_method(const v1::TrainJob& job,
                                                collective::Communicator& communicator,
                                                convex::Objective& objective,
                                                std::span<const double> start, int anchor,
                                                int64_t samples) {
  const Parts parts = {.spec = job.spec().exchange().convex(),
                       .codec = wire::exchange_spec(job).codec,
                       .seed = job.spec().train().seed(),
                       .communicator = communicator,
                       .objective = objective,
                       .start = start,
                       .anchor = anchor,
                       .samples = samples};
  switch (parts.spec.algorithm()) {
    case Convex::OLGA:
    case Convex::EF_OLGA:
      return make_olga(parts);
    case Convex::AEG:
      return make_aeg(parts);
    default:
      return make_descent(parts);
  }
}

}  // namespace laconic::trainer
