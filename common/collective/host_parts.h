// The numbers of a scheduled mean in host memory.
//
//   d  elements    e1, e2  residuals of stage 1 (what this rank sends to be added up) and stage 2
//   (the means that it encodes as an owner)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/part_work.h"
#include "common/collective/scheduled_work.h"
#include "common/compress/codec.h"
#include "common/compress/feedback.h"
#include "common/core/partition.h"

namespace laconic::collective {

// Owned by one thread. begin(), then the calls of PartWork, then commit() or rollback().
class HostParts final : public PartWork {
 public:
  // work: of plan_scheduled_work() for the same options.
  // Errors: InvalidArgument for what make_codec() refuses.
  static absl::StatusOr<std::unique_ptr<HostParts>> make(const ScheduledMeanOptions& options,
                                                         const ScheduledWork& work);

  // v: unchanged. mean: [d], apart from v, where the result is made. Both stay until the end.
  void begin(std::span<const float> v, std::span<float> mean);
  // v has been met; rolls back if the exchange failed.
  void end(bool ok);

  // See ScheduledMean.
  absl::StatusOr<compress::FeedbackNorms> commit();
  void rollback();
  void take_owed(std::span<float> sum);
  void save(core::StateWriter& writer) const;
  absl::Status restore(core::StateReader& reader);
  double owed_stage_1() const;
  double owed_stage_2() const;

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
  HostParts(const ScheduledMeanOptions& options, const ScheduledWork& work);
  absl::Status make_codecs(const ScheduledMeanOptions& options, const ScheduledWork& work);
  // True if an exchange meets every element of v once: encoded, or added up here as it is.
  bool meets_all_of_v(const StepList& list) const;
  absl::Status add_term(int part, const Term& term, bool first, std::span<float> sum);

  std::span<float> mean_of(int part);
  // The part as far as this rank has added it up.
  std::span<const float> values_of(int part);

  const int64_t elements_;
  const float divisor_;
  const int ranks_;
  const std::vector<core::Part> parts_;
  std::vector<std::unique_ptr<compress::Codec>> codecs_;      // [parts]; null: float32
  std::vector<std::unique_ptr<compress::Feedback>> stage_1_;  // [parts]; null: not encoded
  std::vector<std::unique_ptr<compress::Feedback>> stage_2_;  // here
  std::vector<float> sum_;                                    // of one part
  bool meets_all_of_v_ = false;
  // Of the exchange under way.
  std::vector<bool> summed_;  // [parts]; the values are in mean_, no longer in v_
  std::span<const float> v_;
  std::span<float> mean_;
  double squares_ = 0;  // |v|^2, of the elements that no encode() of stage 1 meets
};

}  // namespace laconic::collective
