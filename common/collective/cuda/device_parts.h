// The numbers of a scheduled mean on a GPU: the bytes and results of host_parts.h. Only payloads
// cross to the host, and what a schedule sends as float32.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/cuda/device_payloads.h"
#include "common/collective/part_work.h"
#include "common/collective/scheduled_work.h"
#include "common/core/partition.h"

namespace laconic::collective::cuda {

// Owned by one thread. begin(), then the calls of PartWork, then commit() or rollback().
//
// Device memory beside v and the mean: residuals of what this rank encodes, 4 bytes an element;
// its payloads; the payloads of one part from all ranks; two parts in float32.
class DeviceParts final : public PartWork {
 public:
  // work: of plan_scheduled_work() for the same options.
  // Errors: those of make_device_codec(); Unimplemented for residuals in bfloat16.
  static absl::StatusOr<std::unique_ptr<DeviceParts>> make(const ScheduledMeanOptions& options,
                                                           const ScheduledWork& work,
                                                           const DevicePlace& place);

  // v, mean: [d], device memory, apart from each other; both stay until the end of the exchange.
  void begin(const float* v, float* mean);

  absl::Status commit();
  void rollback();

  int64_t elements(int part) const override { return parts_[static_cast<size_t>(part)].elements; }
  Expected expected(int part) const override;
  absl::StatusOr<Payload> encode(int part, uint64_t seed) override;
  absl::StatusOr<Payload> float_tile(int part, int tile) override;
  Added add(int part, std::span<const Term> terms) override;
  absl::Status divide(int part) override;
  absl::StatusOr<Payload> encode_result(int part, uint64_t seed) override;
  absl::StatusOr<Payload> float_result(int part) override;
  absl::Status take_result(int part, const Payload& payload) override;
  absl::Status take_result_tile(int part, int tile, const Payload& payload) override;

 private:
  DeviceParts(const ScheduledMeanOptions& options, const ScheduledWork& work,
              const DevicePlace& place);
  absl::Status make_codecs(const ScheduledMeanOptions& options, const EncodedParts& encoded);
  absl::Status make_room(int terms);

  // A sum that grows while add() goes through its terms.
  struct Sum {
    int part = 0;
    float* at = nullptr;
    bool first = true;
  };
  // Adds encoded terms begin..end, which are payloads from `staged` on in stage_.
  absl::Status add_encoded(Sum& sum, int staged, int count);
  absl::Status add_floats(Sum& sum, const Term& term);
  absl::Status add_vector(Sum& sum, const float* values);

  absl::StatusOr<Payload> download_floats(const float* from, int64_t count);
  absl::Status upload_floats(const Payload& payload, float* to);
  float* mean_of(int part) const;
  // The part as far as this rank has added it up.
  const float* values_of(int part) const;

  const DevicePlace place_;
  const float divisor_;
  const std::vector<core::Part> parts_;
  std::vector<std::unique_ptr<DeviceCodec>> codecs_;     // [parts]; null: float32
  std::vector<std::unique_ptr<DeviceEncoder>> stage_1_;  // [parts]; null: not encoded
  std::vector<std::unique_ptr<DeviceEncoder>> stage_2_;  // here
  std::optional<PayloadStage> stage_;                    // none without a codec
  DeviceMemory own_fault_;                               // of our own payloads
  DeviceMemory sum_;                                     // of one part
  DeviceMemory term_;                                    // of one part
  // Of the exchange under way.
  std::vector<bool> summed_;  // [parts]; the values are in mean_, no longer in v_
  const float* v_ = nullptr;
  float* mean_ = nullptr;
};

}  // namespace laconic::collective::cuda
