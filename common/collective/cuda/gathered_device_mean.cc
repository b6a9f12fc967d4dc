#include "common/collective/cuda/gathered_device_mean.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/compress/cuda/payload_bits.h"
#include "common/core/status_macros.h"

namespace laconic::collective::cuda {
namespace {

absl::Status from_rank(int rank, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("payload from rank ", rank, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMean>> GatheredDeviceMean::make(
    const ScheduledMeanOptions& options, const DevicePlace& place) {
  if (options.half_residuals) {
    return absl::UnimplementedError(
        "residuals in bfloat16 on a device; use residuals in float32, or the CPU");
  }
  std::unique_ptr<GatheredDeviceMean> made(new GatheredDeviceMean(options, place));
  LACONIC_ASSIGN_OR_RETURN(made->codec_, compress::cuda::make_device_codec(
                                             options.codec, options.layout, *place.machine));
  LACONIC_ASSIGN_OR_RETURN(
      made->encoder_,
      DeviceEncoder::make(*made->codec_, place, options.error_feedback, options.residual_decay));
  return std::unique_ptr<DeviceMean>(std::move(made));
}

absl::Status GatheredDeviceMean::exchange(const DeviceLinks& links, const float* v,
                                          const OpTag& tag, float* out) {
  nccl::SiteComm* const site =
      links.site != nullptr && links.site->ranks() == world_size_ ? links.site : nullptr;
  absl::Status status = encoder_->encode(v);
  if (status.ok()) {
    status =
        site != nullptr ? gather_in_site(*site, out) : gather_on_host(links.communicator, tag, out);
  }
  if (!status.ok() && site != nullptr) {
    site->abort(status);
  }
  return status;
}

absl::Status GatheredDeviceMean::gather_on_host(Communicator& communicator, const OpTag& tag,
                                                float* out) {
  LACONIC_ASSIGN_OR_RETURN(const Payload own, encoder_->download());
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Payload> payloads,
                           communicator.all_gather(own, codec_->payload_bytes_max(), tag));
  if (!stage_.has_value()) {
    LACONIC_ASSIGN_OR_RETURN(PayloadStage stage,
                             PayloadStage::make(place_, world_size_, codec_->capacity_bytes()));
    stage_.emplace(std::move(stage));
  }
  std::vector<std::span<const uint8_t>> bytes;
  bytes.reserve(payloads.size());
  for (const Payload& payload : payloads) {
    bytes.push_back(payload.bytes());
    if (codec_->fixed_size() && static_cast<int64_t>(payload.size) != codec_->payload_bytes_max()) {
      const auto rank = static_cast<int>(bytes.size()) - 1;
      return communicator.channel().blame(
          rank, from_rank(rank, absl::DataLossError(absl::StrCat(payload.size, " bytes, due are ",
                                                                 codec_->payload_bytes_max()))));
    }
  }
  LACONIC_RETURN_IF_ERROR(stage_->upload(bytes, codec_->capacity_bytes()));
  LACONIC_RETURN_IF_ERROR(codec_->decode({.payloads = stage_->payloads(0),
                                          .stride_bytes = codec_->capacity_bytes(),
                                          .payload_bytes = stage_->sizes(0),
                                          .count = world_size_,
                                          .divisor = static_cast<float>(world_size_),
                                          .out = out,
                                          .fault = stage_->fault(0)},
                                         place_.stream));
  const absl::Status status = stage_->check(0);
  return stage_->failed() < 0
             ? status
             : communicator.channel().blame(stage_->failed(), from_rank(stage_->failed(), status));
}

// The host waits for NCCL before it waits for the device: only the first wait has a deadline.
absl::Status GatheredDeviceMean::gather_in_site(nccl::SiteComm& site, float* out) {
  const int64_t capacity = codec_->capacity_bytes();
  Machine& machine = *place_.machine;
  if (gathered_.bytes() == 0) {
    LACONIC_ASSIGN_OR_RETURN(
        gathered_, DeviceMemory::make(machine, static_cast<size_t>(world_size_ * capacity)));
    LACONIC_ASSIGN_OR_RETURN(fault_, DeviceMemory::make(machine, sizeof(uint64_t)));
  }
  LACONIC_RETURN_IF_ERROR(
      site.all_gather(encoder_->payload(), gathered_.as<void>(), capacity, place_.stream));
  LACONIC_RETURN_IF_ERROR(site.wait());
  LACONIC_RETURN_IF_ERROR(machine.fill(fault_.as<void>(), 0xFF, fault_.bytes(), place_.stream));
  LACONIC_RETURN_IF_ERROR(codec_->decode({.payloads = gathered_.as<uint8_t>(),
                                          .stride_bytes = capacity,
                                          .count = world_size_,
                                          .divisor = static_cast<float>(world_size_),
                                          .out = out,
                                          .fault = fault_.as<uint64_t>()},
                                         place_.stream));
  uint64_t fault = 0;
  LACONIC_RETURN_IF_ERROR(
      machine.copy_to_host(&fault, fault_.as<void>(), sizeof fault, place_.stream));
  return compress::cuda::decode_status(fault);
}

}  // namespace laconic::collective::cuda
