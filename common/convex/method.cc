#include "common/convex/method.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::convex {
namespace {

constexpr size_t kTrafficCounts = 5;

}  // namespace

absl::Status Method::check_start(const std::string& method, int anchor,
                                 const collective::Communicator& communicator,
                                 const Objective& objective, std::span<const double> start) {
  if (anchor < 0 || anchor >= communicator.world_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        method, ": anchor is ", anchor, "; allowed: a rank, 0 to ", communicator.world_size() - 1));
  }
  if (static_cast<int64_t>(start.size()) != objective.dimension()) {
    return absl::InvalidArgumentError(absl::StrCat(
        method, ": the start has ", start.size(), " numbers, the problem ", objective.dimension()));
  }
  return absl::OkStatus();
}

absl::Status Method::BusyObjective::gradient(std::span<const double> x,
                                             std::span<double> gradient) {
  LACONIC_RETURN_IF_ERROR(method_.keep_alive());
  return method_.objective_.gradient(x, gradient);
}

absl::StatusOr<double> Method::share_gradient_norm() {
  return star_.broadcast(report_.gradient_norm);
}

absl::Status Method::iterate() {
  const Traffic before = star_.traffic();
  LACONIC_RETURN_IF_ERROR(step());
  ++iterations_;
  report_.messages = star_.traffic().up_messages - before.up_messages;
  report_.skipped_messages = star_.traffic().skipped_messages - before.skipped_messages;
  return absl::OkStatus();
}

std::vector<double> Method::save() {
  const Traffic& traffic = star_.traffic();
  std::vector<double> saved = {static_cast<double>(iterations_)};
  for (const int64_t count : {traffic.up_bytes, traffic.down_bytes, traffic.gathers,
                              traffic.up_messages, traffic.skipped_messages}) {
    saved.push_back(static_cast<double>(count));
  }
  for (const std::span<double> part : state()) {
    saved.insert(saved.end(), part.begin(), part.end());
  }
  return saved;
}

absl::Status Method::restore(std::span<const double> saved) {
  const std::vector<std::span<double>> parts = state();
  size_t wanted = 1 + kTrafficCounts;
  for (const std::span<double> part : parts) {
    wanted += part.size();
  }
  if (saved.size() != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("the state has ", saved.size(), " numbers, this method keeps ", wanted,
                     ": it was saved by another method or another problem"));
  }
  const auto count = [&](size_t place) { return static_cast<int64_t>(saved[place]); };
  iterations_ = count(0);
  star_.set_traffic({.up_bytes = count(1),
                     .down_bytes = count(2),
                     .gathers = count(3),
                     .up_messages = count(4),
                     .skipped_messages = count(5)});
  saved = saved.subspan(1 + kTrafficCounts);
  for (const std::span<double> part : parts) {
    std::copy_n(saved.begin(), part.size(), part.begin());
    saved = saved.subspan(part.size());
  }
  return absl::OkStatus();
}

uint64_t Method::message_seed(uint64_t seed, int64_t message) const {
  const auto stream =
      static_cast<uint64_t>(iterations_) * static_cast<uint64_t>(star_.world_size()) +
      static_cast<uint64_t>(star_.rank());
  return core::Random(seed, stream).at(static_cast<uint64_t>(message));
}

uint64_t Method::round_seed(uint64_t seed, int64_t message) const {
  const auto stream =
      static_cast<uint64_t>(iterations_) * static_cast<uint64_t>(star_.world_size());
  return core::Random(seed, stream).at(static_cast<uint64_t>(message));
}

}  // namespace laconic::convex
