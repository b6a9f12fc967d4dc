#include "common/collective/scheduled_mean.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

std::vector<int> all_ranks(int world_size) {
  std::vector<int> ranks(static_cast<size_t>(world_size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScheduledMean>> ScheduledMean::make(
    const ScheduledMeanOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(ScheduledWork work, plan_scheduled_work(options));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<HostParts> parts, HostParts::make(options, work));
  return std::unique_ptr<ScheduledMean>(
      new ScheduledMean(options, std::move(work.list), std::move(parts)));
}

ScheduledMean::ScheduledMean(const ScheduledMeanOptions& options, StepList list,
                             std::unique_ptr<HostParts> parts)
    : rank_(options.rank),
      world_size_(options.world_size),
      elements_(options.layout.elements()),
      runner_(std::move(list), {.rank = options.rank, .peers = all_ranks(options.world_size)}),
      parts_(std::move(parts)) {}

absl::Status ScheduledMean::run(Communicator& communicator, std::span<const float> v,
                                const OpTag& tag, std::span<float> out) {
  if (static_cast<int64_t>(v.size()) != elements_ || (!out.empty() && out.size() != v.size())) {
    return absl::InvalidArgumentError(absl::StrCat("scheduled mean: ", v.size(), " elements in, ",
                                                   out.size(), " out, the layout has ", elements_));
  }
  if (communicator.rank() != rank_ || communicator.world_size() != world_size_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "scheduled mean: made for rank ", rank_, " of ", world_size_, ", the communicator is rank ",
        communicator.rank(), " of ", communicator.world_size()));
  }
  if (out.empty()) {
    own_mean_.resize(v.size());
  }
  mean_ = out.empty() ? std::span<float>(own_mean_) : out;
  parts_->begin(v, mean_);
  absl::Status status = runner_.run(communicator.channel(), tag, *parts_);
  parts_->end(status.ok());
  return status;
}

}  // namespace laconic::collective
