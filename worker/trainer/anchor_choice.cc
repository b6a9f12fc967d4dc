#include "worker/trainer/anchor_choice.h"

#include <algorithm>
#include <cmath>

#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"
#include "common/sync/similarity.h"

namespace laconic::trainer {
namespace {

// Small beside x, large beside the rounding of gradients to the float32 that sketches are made of.
constexpr double kLength = 1e-2;
// No stream of the methods' own draws.
constexpr uint64_t kStream = 0x616e63686f72;

// sketch <- S(grad f_m(x + v) - grad f_m(x)); returns |v|.
absl::StatusOr<double> measure(convex::Objective& objective, std::span<const double> x,
                               std::span<const double> origin, core::Random& random, uint64_t seed,
                               std::span<float> sketch) {
  std::vector<double> point(x.size());
  for (double& value : point) {
    value = random.uniform() - 0.5;
  }
  const double length = kLength * std::max(1.0, core::norm(x));
  const double scale = length / core::norm(point);
  for (size_t i = 0; i < point.size(); ++i) {
    point[i] = x[i] + scale * point[i];
  }
  std::vector<double> gradient(x.size());
  LACONIC_RETURN_IF_ERROR(objective.gradient(point, gradient));
  std::vector<float> change(x.size());
  std::transform(gradient.begin(), gradient.end(), origin.begin(), change.begin(),
                 [](double now, double before) { return static_cast<float>(now - before); });
  sync::make_sketch(change, seed, sketch);
  return length;
}

}  // namespace

absl::StatusOr<AnchorChoice> choose_anchor(convex::Objective& objective, std::span<const double> x,
                                           uint64_t seed, collective::Communicator& communicator) {
  std::vector<double> origin(x.size());
  LACONIC_RETURN_IF_ERROR(objective.gradient(x, origin));
  core::Random random(seed, kStream);
  std::vector<double> squares(static_cast<size_t>(communicator.world_size()));
  for (int direction = 0; direction < kAnchorDirections; ++direction) {
    // Gradients over all samples have no noise to take out: both halves are the same.
    std::vector<float> halves(2 * sync::kSketchSize);
    const std::span<float> whole(halves);
    LACONIC_ASSIGN_OR_RETURN(const double length, measure(objective, x, origin, random,
                                                          seed + static_cast<uint64_t>(direction),
                                                          whole.first(sync::kSketchSize)));
    std::copy_n(halves.begin(), sync::kSketchSize, halves.begin() + sync::kSketchSize);
    LACONIC_ASSIGN_OR_RETURN(const sync::Similarity similarity,
                             sync::gather_similarity(halves, length, communicator, {}));
    for (size_t rank = 0; rank < squares.size(); ++rank) {
      squares[rank] += similarity.deltas[rank] * similarity.deltas[rank] / kAnchorDirections;
    }
  }
  AnchorChoice choice;
  choice.rank =
      static_cast<int>(std::min_element(squares.begin(), squares.end()) - squares.begin());
  for (const double square : squares) {
    choice.deltas.push_back(std::sqrt(square));
  }
  return choice;
}

}  // namespace laconic::trainer
