// Ranks at sites: NCCL inside, encoded bytes between.
//
//   G  ranks per site    M  sites    L  elements of a shard, the same for all
#pragma once

#include <memory>
#include <optional>

#include "common/collective/cuda/device_mean.h"
#include "common/collective/cuda/device_parts.h"
#include "common/collective/step_runner.h"

namespace laconic::collective::cuda {

// L: shards begin at multiples of 256 bytes, and G L >= d.
int64_t shard_elements(int64_t elements, int ranks_per_site);

// What rank `options.rank` does between the sites: rank M of a sharded exchange of its shard, whose
// sum is divided by the ranks of all sites. Without elements where the shard is all padding.
// options: of a hierarchical mean; rank and world_size of all sites.
ScheduledMeanOptions between_sites(const ScheduledMeanOptions& options);

class SiteDeviceMean final : public DeviceMean {
 public:
  // Device memory beside that of DeviceParts: two vectors.
  static absl::StatusOr<std::unique_ptr<DeviceMean>> make(const ScheduledMeanOptions& options,
                                                          const DevicePlace& place);

  absl::Status commit() override;
  void rollback() override;

 private:
  SiteDeviceMean(const ScheduledMeanOptions& options, const DevicePlace& place);
  absl::Status make_room();

  absl::Status exchange(const DeviceLinks& links, const float* v, const OpTag& tag,
                        float* out) override;
  absl::Status exchange_in_site(nccl::SiteComm& site, Communicator& communicator, const float* v,
                                const OpTag& tag, float* out);
  // The mean of this rank's shard, from the sum over its site.
  absl::Status exchange_shard(Communicator& communicator, const OpTag& tag);
  float* own_shard() const;

  const DevicePlace place_;
  const int64_t elements_;
  const int ranks_per_site_;  // G
  const int64_t shard_;       // L
  const int sites_;           // M
  uint64_t numbers_ = 1;      // Sequence numbers of an exchange between sites.
  // None with one site, and where the shard is all padding.
  std::unique_ptr<DeviceParts> parts_;
  std::optional<StepRunner> runner_;
  DeviceMemory padded_;  // [G L]: v, then zeros
  DeviceMemory sum_;     // [L]
  DeviceMemory result_;  // [G L]
};

}  // namespace laconic::collective::cuda
