#include "common/collective/cuda/device_mean.h"

#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/collective/cuda/device_parts.h"
#include "common/collective/cuda/gathered_device_mean.h"
#include "common/collective/cuda/site_device_mean.h"
#include "common/collective/step_runner.h"
#include "common/core/status_macros.h"

namespace laconic::collective::cuda {
namespace {

// By the steps of ScheduledMean.
class ScheduledDeviceMean final : public DeviceMean {
 public:
  ScheduledDeviceMean(const ScheduledMeanOptions& options, StepList list,
                      std::unique_ptr<DeviceParts> parts)
      : DeviceMean(options),
        runner_(std::move(list), {.rank = options.rank, .peers = all_ranks(options.world_size)}),
        parts_(std::move(parts)) {}

  absl::Status commit() override { return parts_->commit(); }
  void rollback() override { parts_->rollback(); }

 private:
  static std::vector<int> all_ranks(int world_size) {
    std::vector<int> ranks(static_cast<size_t>(world_size));
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }

  absl::Status exchange(const DeviceLinks& links, const float* v, const OpTag& tag,
                        float* out) override {
    parts_->begin(v, out);
    return runner_.run(links.communicator.channel(), tag, *parts_);
  }

  StepRunner runner_;
  const std::unique_ptr<DeviceParts> parts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMean>> DeviceMean::make(const ScheduledMeanOptions& options,
                                                             const DevicePlace& place) {
  const bool dense = options.codec.kind == core::CodecKind::kNone;
  const core::Schedule schedule = options.schedule;
  if (dense && schedule != core::Schedule::kRing && schedule != core::Schedule::kTree) {
    return absl::UnimplementedError(
        absl::StrCat("schedule ", core::schedule_name(schedule),
                     " without a codec on a device; use the CPU, whose sums are in double"));
  }
  if (schedule == core::Schedule::kAllGather) {
    return GatheredDeviceMean::make(options, place);
  }
  if (schedule == core::Schedule::kHierarchical) {
    return SiteDeviceMean::make(options, place);
  }
  LACONIC_ASSIGN_OR_RETURN(ScheduledWork work, plan_scheduled_work(options));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<DeviceParts> parts,
                           DeviceParts::make(options, work, place));
  return std::make_unique<ScheduledDeviceMean>(options, std::move(work.list), std::move(parts));
}

absl::Status DeviceMean::run(const DeviceLinks& links, const float* v, const OpTag& tag,
                             float* out) {
  if (links.communicator.rank() != rank_ || links.communicator.world_size() != world_size_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device mean: made for rank ", rank_, " of ", world_size_, ", the communicator is rank ",
        links.communicator.rank(), " of ", links.communicator.world_size()));
  }
  absl::Status status = exchange(links, v, tag, out);
  if (!status.ok()) {
    rollback();
  }
  return status;
}

}  // namespace laconic::collective::cuda
