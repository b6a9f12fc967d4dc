// All-gather of whole payloads: over the host, or over NCCL where one site holds all ranks.
#pragma once

#include <memory>
#include <optional>

#include "common/collective/cuda/device_mean.h"

namespace laconic::collective::cuda {

class GatheredDeviceMean final : public DeviceMean {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceMean>> make(const ScheduledMeanOptions& options,
                                                          const DevicePlace& place);

  absl::Status commit() override { return encoder_->commit(); }
  void rollback() override { encoder_->rollback(); }

 private:
  GatheredDeviceMean(const ScheduledMeanOptions& options, const DevicePlace& place)
      : DeviceMean(options), place_(place) {}

  absl::Status exchange(const DeviceLinks& links, const float* v, const OpTag& tag,
                        float* out) override;
  absl::Status gather_on_host(Communicator& communicator, const OpTag& tag, float* out);
  absl::Status gather_in_site(nccl::SiteComm& site, float* out);

  const DevicePlace place_;
  std::unique_ptr<DeviceCodec> codec_;
  std::unique_ptr<DeviceEncoder> encoder_;
  std::optional<PayloadStage> stage_;  // made when first needed
  DeviceMemory gathered_;              // [P capacity]: of the site
  DeviceMemory fault_;                 // of gather_in_site()
};

}  // namespace laconic::collective::cuda
