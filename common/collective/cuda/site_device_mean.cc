#include "common/collective/cuda/site_device_mean.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/partition.h"
#include "common/core/status_macros.h"

namespace laconic::collective::cuda {
namespace {

constexpr int64_t kShardAlignment = 64;  // elements
constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

// Sequence numbers that the longest shard needs: all ranks count as many.
absl::StatusOr<uint64_t> numbers_of(const ScheduledMeanOptions& options) {
  uint64_t largest = 1;
  for (int index = 0; index < options.ranks_per_site; ++index) {
    ScheduledMeanOptions of_index = options;
    of_index.rank = index;
    const ScheduledMeanOptions between = between_sites(of_index);
    if (between.layout.elements() > 0) {
      LACONIC_ASSIGN_OR_RETURN(const ScheduledWork work, plan_scheduled_work(between));
      largest = std::max(largest, static_cast<uint64_t>(between.world_size) * work.parts.size());
    }
  }
  return largest;
}

}  // namespace

int64_t shard_elements(int64_t elements, int ranks_per_site) {
  const int64_t even = (elements + ranks_per_site - 1) / ranks_per_site;
  return (even + kShardAlignment - 1) / kShardAlignment * kShardAlignment;
}

ScheduledMeanOptions between_sites(const ScheduledMeanOptions& options) {
  const int64_t elements = options.layout.elements();
  const int64_t shard = shard_elements(elements, options.ranks_per_site);
  const int64_t begin = std::min(elements, options.rank % options.ranks_per_site * shard);
  const int64_t end = std::min(elements, begin + shard);
  ScheduledMeanOptions between = options;
  between.rank = options.rank / options.ranks_per_site;
  between.world_size = options.world_size / options.ranks_per_site;
  between.schedule = core::Schedule::kSharded;
  between.layout = begin < end ? core::slice(options.layout, begin, end) : core::Layout{};
  between.ranks_per_site = 1;
  between.divisor = options.world_size;
  return between;
}

absl::StatusOr<std::unique_ptr<DeviceMean>> SiteDeviceMean::make(
    const ScheduledMeanOptions& options, const DevicePlace& place) {
  const int ranks_per_site = options.ranks_per_site;
  if (ranks_per_site < 1 || options.world_size % ranks_per_site != 0) {
    return absl::InvalidArgumentError(absl::StrCat("schedule hierarchical: ", ranks_per_site,
                                                   " ranks per site and ", options.world_size,
                                                   " ranks; ranks_per_site must divide them"));
  }
  std::unique_ptr<SiteDeviceMean> made(new SiteDeviceMean(options, place));
  LACONIC_RETURN_IF_ERROR(made->make_room());
  LACONIC_ASSIGN_OR_RETURN(made->numbers_, numbers_of(options));
  const ScheduledMeanOptions between = between_sites(options);
  if (made->sites_ > 1 && between.layout.elements() > 0) {
    LACONIC_ASSIGN_OR_RETURN(ScheduledWork work, plan_scheduled_work(between));
    LACONIC_ASSIGN_OR_RETURN(made->parts_, DeviceParts::make(between, work, place));
    StepRunnerOptions steps = {.rank = between.rank, .peers = {}, .numbers = made->numbers_};
    for (int site = 0; site < made->sites_; ++site) {
      steps.peers.push_back(site * ranks_per_site + options.rank % ranks_per_site);
    }
    made->runner_.emplace(std::move(work.list), steps);
  } else {
    // Nothing is encoded here, but what does not exist is refused on all ranks.
    LACONIC_RETURN_IF_ERROR(
        compress::cuda::make_device_codec(options.codec, options.layout, *place.machine).status());
  }
  return std::unique_ptr<DeviceMean>(std::move(made));
}

SiteDeviceMean::SiteDeviceMean(const ScheduledMeanOptions& options, const DevicePlace& place)
    : DeviceMean(options),
      place_(place),
      elements_(options.layout.elements()),
      ranks_per_site_(options.ranks_per_site),
      shard_(shard_elements(elements_, ranks_per_site_)),
      sites_(options.world_size / ranks_per_site_) {}

absl::Status SiteDeviceMean::make_room() {
  Machine& machine = *place_.machine;
  const auto shard_bytes = static_cast<size_t>(shard_ * kFloatBytes);
  const size_t all_bytes = static_cast<size_t>(ranks_per_site_) * shard_bytes;
  LACONIC_ASSIGN_OR_RETURN(padded_, DeviceMemory::make(machine, all_bytes));
  LACONIC_ASSIGN_OR_RETURN(sum_, DeviceMemory::make(machine, shard_bytes));
  LACONIC_ASSIGN_OR_RETURN(result_, DeviceMemory::make(machine, all_bytes));
  // The padding is added up like the rest.
  LACONIC_RETURN_IF_ERROR(machine.fill(padded_.as<void>(), 0, all_bytes, place_.stream));
  return machine.fill(result_.as<void>(), 0, all_bytes, place_.stream);
}

absl::Status SiteDeviceMean::commit() {
  return parts_ == nullptr ? absl::OkStatus() : parts_->commit();
}

void SiteDeviceMean::rollback() {
  if (parts_ != nullptr) {
    parts_->rollback();
  }
}

absl::Status SiteDeviceMean::exchange(const DeviceLinks& links, const float* v, const OpTag& tag,
                                      float* out) {
  nccl::SiteComm* const site = links.site;
  if (site == nullptr || site->ranks() != ranks_per_site_ ||
      site->rank() != rank_ % ranks_per_site_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device mean: made for rank ", rank_ % ranks_per_site_, " of ", ranks_per_site_,
        " GPUs of a site, the NCCL communicator ",
        site == nullptr ? "is none"
                        : absl::StrCat("is rank ", site->rank(), " of ", site->ranks())));
  }
  absl::Status status = exchange_in_site(*site, links.communicator, v, tag, out);
  if (!status.ok()) {
    // The others of the site wait for what does not come.
    site->abort(status);
  }
  return status;
}

// Each wait for NCCL comes before the host waits for the device: only the first has a deadline.
absl::Status SiteDeviceMean::exchange_in_site(nccl::SiteComm& site, Communicator& communicator,
                                              const float* v, const OpTag& tag, float* out) {
  const auto bytes = static_cast<size_t>(elements_ * kFloatBytes);
  LACONIC_RETURN_IF_ERROR(
      place_.machine->copy_on_device(padded_.as<void>(), v, bytes, place_.stream));
  LACONIC_RETURN_IF_ERROR(
      site.reduce_scatter(padded_.as<float>(), sum_.as<float>(), shard_, place_.stream));
  LACONIC_RETURN_IF_ERROR(site.wait());
  LACONIC_RETURN_IF_ERROR(exchange_shard(communicator, tag));
  LACONIC_RETURN_IF_ERROR(
      site.all_gather(own_shard(), result_.as<void>(), shard_ * kFloatBytes, place_.stream));
  LACONIC_RETURN_IF_ERROR(site.wait());
  return place_.machine->copy_on_device(out, result_.as<void>(), bytes, place_.stream);
}

absl::Status SiteDeviceMean::exchange_shard(Communicator& communicator, const OpTag& tag) {
  if (sites_ == 1) {
    return place_.machine->run(
        compress::cuda::CombineArgs{.count = shard_,
                                    .x = sum_.as<float>(),
                                    .divisor = static_cast<float>(world_size_),
                                    .out = own_shard()},
        place_.stream);
  }
  if (parts_ == nullptr) {  // As the other ranks, so that the next operation is in order again.
    communicator.channel().start(FrameKind::kPart, tag, numbers_);
    return absl::OkStatus();
  }
  parts_->begin(sum_.as<float>(), own_shard());
  return runner_->run(communicator.channel(), tag, *parts_);
}

float* SiteDeviceMean::own_shard() const {
  return result_.as<float>() + rank_ % ranks_per_site_ * shard_;
}

}  // namespace laconic::collective::cuda
