#include "worker/trainer/anchor_choice.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/collective/link_probe.h"
#include "common/core/byte_buffer.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::trainer {
namespace {

// Small beside x, large beside the rounding of messages to float32.
constexpr double kLength = 1e-2;
// No stream of the methods' own draws.
constexpr uint64_t kStream = 0x616e63686f72;

// `direction` of rank `root` on all ranks.
absl::Status share_direction(int root, collective::Communicator& communicator,
                             std::vector<float>& direction) {
  const size_t bytes = direction.size() * sizeof(float);
  collective::Payload payload;
  if (communicator.rank() == root) {
    const auto buffer = std::make_shared<core::ByteBuffer>(bytes);
    std::memcpy(buffer->data(), direction.data(), bytes);
    payload = collective::Payload(buffer);
  }
  LACONIC_ASSIGN_OR_RETURN(payload,
                           communicator.broadcast(root, payload, static_cast<int64_t>(bytes), {}));
  if (payload.size != bytes) {
    return absl::DataLossError(absl::StrCat("anchor: rank ", root, " sent a direction of ",
                                            payload.size, " bytes, due are ", bytes));
  }
  std::memcpy(direction.data(), payload.data, bytes);
  return absl::OkStatus();
}

std::vector<float> random_direction(size_t elements, uint64_t seed) {
  core::Random random(seed, kStream);
  std::vector<float> direction(elements);
  for (float& value : direction) {
    value = static_cast<float>(random.uniform() - 0.5);
  }
  return direction;
}

int least(const std::vector<double>& deltas) {
  return static_cast<int>(std::min_element(deltas.begin(), deltas.end()) - deltas.begin());
}

// Gradients about x, and how a rank's differ from the mean of all.
class Differences {
 public:
  Differences(convex::Objective& objective, std::span<const double> x,
              collective::Communicator& communicator)
      : objective_(objective), x_(x), communicator_(communicator), origin_(x.size()) {}

  absl::Status begin() { return objective_.gradient(x_, origin_); }

  // direction <- (Hess f_m - Hess f) v of this rank, for v of that direction and a length of its
  // own; returns its norm over |v|.
  absl::StatusOr<double> along(std::vector<float>& direction) {
    std::vector<double> point(direction.begin(), direction.end());
    const double length = kLength * std::max(1.0, core::norm(x_));
    const double scale = length / std::max(core::norm(point), 1e-300);
    for (size_t i = 0; i < point.size(); ++i) {
      point[i] = x_[i] + scale * point[i];
    }
    std::vector<double> change(x_.size());
    LACONIC_RETURN_IF_ERROR(objective_.gradient(point, change));
    core::add_scaled(-1, origin_, change);
    std::vector<float> mean(change.begin(), change.end());
    LACONIC_RETURN_IF_ERROR(communicator_.all_reduce_mean(mean, {}));
    for (size_t i = 0; i < change.size(); ++i) {
      change[i] -= static_cast<double>(mean[i]);
      direction[i] = static_cast<float>(change[i]);
    }
    return core::norm(change) / length;
  }

 private:
  convex::Objective& objective_;
  const std::span<const double> x_;
  collective::Communicator& communicator_;
  std::vector<double> origin_;
};

}  // namespace

absl::StatusOr<AnchorChoice> choose_anchor(convex::Objective& objective, std::span<const double> x,
                                           uint64_t seed, collective::Communicator& communicator) {
  Differences differences(objective, x, communicator);
  LACONIC_RETURN_IF_ERROR(differences.begin());
  std::vector<float> own = random_direction(x.size(), seed);
  AnchorChoice choice{
      .rank = 0, .deltas = std::vector<double>(static_cast<size_t>(communicator.world_size()))};
  for (int step = 0; step < kAnchorSteps; ++step) {
    if (step > 0) {
      LACONIC_RETURN_IF_ERROR(share_direction(choice.rank, communicator, own));
    }
    LACONIC_ASSIGN_OR_RETURN(const double delta, differences.along(own));
    LACONIC_ASSIGN_OR_RETURN(const std::vector<double> seen,
                             collective::numbers_of_ranks(communicator, delta, {}));
    std::transform(seen.begin(), seen.end(), choice.deltas.begin(), choice.deltas.begin(),
                   [](double now, double before) { return std::max(now, before); });
    choice.rank = least(choice.deltas);
  }
  return choice;
}

}  // namespace laconic::trainer
