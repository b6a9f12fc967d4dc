#include "common/convex/estimate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/compress/codec.h"
#include "common/convex/prox.h"
#include "common/convex/vector_star.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {
namespace {

constexpr double kMargin = 1.1;

// f_1 - f as the anchor sees it: all ranks take the gradient at the anchor's point.
class Gap {
 public:
  Gap(VectorStar& star, const compress::Codec& codec, Objective& objective)
      : star_(star),
        codec_(codec),
        objective_(objective),
        own_(static_cast<size_t>(star.dimension())),
        mean_(own_) {}

  // point ([d], of the anchor) comes to all as float32; gap ([d], at the anchor) <- grad (f_1 - f).
  absl::Status gradient(std::span<double> point, std::span<double> gap) {
    LACONIC_RETURN_IF_ERROR(star_.broadcast(codec_, /*seed=*/0, point));
    LACONIC_RETURN_IF_ERROR(objective_.gradient(point, own_));
    LACONIC_RETURN_IF_ERROR(star_.gather_sum(codec_, {.v = own_}, mean_));
    for (size_t i = 0; i < own_.size(); ++i) {
      gap[i] = own_[i] - (mean_[i] + own_[i]) / star_.world_size();
    }
    return absl::OkStatus();
  }

 private:
  VectorStar& star_;
  const compress::Codec& codec_;
  Objective& objective_;
  std::vector<double> own_;
  std::vector<double> mean_;
};

}  // namespace

absl::StatusOr<double> estimate_mean_smoothness(collective::Communicator& communicator, int anchor,
                                                Objective& objective, std::span<const double> x,
                                                uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(const double own, initial_smoothness(objective, x, seed));
  VectorStar star(communicator, anchor, 1);
  LACONIC_ASSIGN_OR_RETURN(const auto float32, compress::make_codec({}, {{{"L", 1, 1}}}));
  std::vector<double> sum(1);
  LACONIC_RETURN_IF_ERROR(star.gather_sum(*float32, {.v = std::span(&own, 1)}, sum));
  LACONIC_ASSIGN_OR_RETURN(const double mean,
                           star.broadcast((sum[0] + own) / communicator.world_size()));
  if (!(mean > 0) || !std::isfinite(mean)) {
    return absl::OutOfRangeError(
        absl::StrCat("the estimated smoothness (L) is ", mean, ", and must be above 0 and finite"));
  }
  return mean;
}

absl::StatusOr<double> estimate_similarity(collective::Communicator& communicator, int anchor,
                                           Objective& objective, std::span<const double> x,
                                           double least, uint64_t seed) {
  const int64_t d = objective.dimension();
  VectorStar star(communicator, anchor, d);
  LACONIC_ASSIGN_OR_RETURN(const auto float32, compress::make_codec({}, {{{"x", 1, d}}}));
  Gap gap(star, *float32, objective);
  std::vector<double> origin_point(x.begin(), x.end());
  std::vector<double> origin(origin_point.size());
  LACONIC_RETURN_IF_ERROR(gap.gradient(origin_point, origin));
  core::Random random(seed);
  std::vector<double> direction(origin.size());
  for (double& value : direction) {
    value = random.uniform() - 0.5;
  }
  // Small beside x, large beside the rounding of float32 messages.
  const double length = 1e-2 * std::max(1.0, core::norm(x));
  std::vector<double> point(origin.size());
  double curvature = 0;
  for (int step = 0; step < kSimilaritySteps; ++step) {
    const double scale = length / std::max(core::norm(direction), 1e-300);
    for (size_t i = 0; i < point.size(); ++i) {
      point[i] = origin_point[i] + scale * direction[i];
    }
    LACONIC_RETURN_IF_ERROR(gap.gradient(point, direction));
    if (star.is_anchor()) {
      core::add_scaled(-1, origin, direction);
      curvature = std::max(curvature, core::norm(direction) / length);
    }
  }
  LACONIC_ASSIGN_OR_RETURN(const double shared, star.broadcast(kMargin * curvature));
  return std::max(shared, least);
}

}  // namespace laconic::convex
