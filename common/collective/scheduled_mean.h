// The mean over the ranks by any schedule, compressed or in float32: carries out the steps of one
// rank over a communicator.
//
//   P  world_size    d  elements    e1, e2  residuals of error feedback: of what this rank sends to
//   be added up (stage 1), and of the means that it encodes as an owner (stage 2)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/schedule.h"
#include "common/collective/scheduled_work.h"
#include "common/compress/codec.h"
#include "common/compress/feedback.h"
#include "common/core/codec_spec.h"
#include "common/core/layout.h"
#include "common/core/partition.h"
#include "common/core/schedule.h"

namespace laconic::collective {

// Owned by one thread. One exchange is a transaction: run(), then commit() when all ranks have
// their mean, or rollback().
class ScheduledMean {
 public:
  // All ranks give the same options, but for the rank.
  // Errors: InvalidArgument for an unknown schedule, a ring with a codec, or what make_codec()
  // refuses.
  static absl::StatusOr<std::unique_ptr<ScheduledMean>> make(const ScheduledMeanOptions& options);

  int64_t elements() const { return elements_; }
  // Messages of one frame each that this rank sends and receives in one exchange.
  int64_t messages_sent() const;
  int64_t messages_received() const;

  // Makes mean() from the ranks' vectors; bit-identical on all ranks.
  //
  //   communicator  of the generation; its rank and world size are those of the options
  //   v             [d] f32; unchanged. After rollback() the same v again: what is owed already is
  //                 not added twice, and all ranks send the same bytes as before.
  //   out           [d] f32, apart from v, where mean() is made; empty: memory of this object
  //
  // Cost: see schedule.h; one frame per message. Errors: those of Communicator::all_gather and of
  // the codec. After one the exchange is rolled back, and mean() is unspecified.
  absl::Status run(Communicator& communicator, std::span<const float> v, const OpTag& tag,
                   std::span<float> out = {});

  // [d] f32, until the next run().
  std::span<const float> mean() const { return mean_; }

  // Closes the exchange: both stages keep what their bytes left out. Norms are over all parts of
  // both stages; that of the input is v's. Errors: as Feedback::commit.
  absl::StatusOr<compress::FeedbackNorms> commit();
  // Restores both stages: what was to be sent still is owed. Without an open exchange: nothing.
  void rollback();

  // Adds to `sum` ([d]) what this rank owes, that of stage 2 times P, and forgets it: for a caller
  // that keeps it in a residual of its own. No exchange may be open.
  void take_owed(std::span<float> sum);
  // Sum over the elements of what stage 1, and stage 2 of this rank, still owe. P times the second
  // and the first, over all ranks, with what was received, make up what was given to run().
  double owed_stage_1() const;
  double owed_stage_2() const;

 private:
  struct Received {
    int origin = 0;
    Form form = Form::kEncoded;
    std::vector<Payload> tiles;  // One, but for float32 longer than a frame.
  };
  // One part during an exchange.
  struct PartState {
    Payload own;                     // This rank's values, once encoded to be sent.
    std::vector<Received> received;  // Sums that wait to be added.
    Payload result;                  // The result's bytes, while they may have to be sent.
    bool summed = false;             // The values are in mean_, no longer in v.
  };

  explicit ScheduledMean(const ScheduledMeanOptions& options);
  absl::Status make_codecs(const ScheduledMeanOptions& options);

  // True if run() meets every element of v once: encoded, or added up here as it is.
  bool meets_all_of_v() const;
  absl::Status run_steps(const OpTag& tag);
  absl::Status run_step(const Step& step);
  absl::Status send(const Message& message);
  absl::StatusOr<Payload> payload_of(const Message& message);
  absl::Status receive(const Message& message);
  absl::Status add(int part);
  absl::Status add_term(int part, const Received& term, bool first, std::span<float> sum);
  absl::Status finish(const Finish& finish);
  absl::Status take_result(const Message& message, const Payload& payload);

  FrameHeader header_of(const Message& message) const;
  Expected expected(const Message& message) const;
  uint64_t seed(int part, bool stage_2) const;
  size_t elements_of(int part) const;
  std::span<float> mean_of(int part);
  // The part as far as this rank has added it up.
  std::span<const float> values_of(int part);

  const int rank_;
  const int world_size_;
  const int64_t elements_;
  std::vector<core::Part> parts_;
  StepList list_;
  std::vector<std::unique_ptr<compress::Codec>> codecs_;      // [parts]; null: float32
  std::vector<std::unique_ptr<compress::Feedback>> stage_1_;  // [parts]; null: not encoded
  std::vector<std::unique_ptr<compress::Feedback>> stage_2_;  // here
  std::vector<bool> forwarded_;                               // [parts]; results sent on
  std::vector<float> own_mean_;                               // [d], or empty
  std::span<float> mean_;                                     // [d]
  std::vector<float> sum_;                                    // of one part
  bool meets_all_of_v_ = false;
  // Of the exchange under way.
  FrameChannel* channel_ = nullptr;
  std::vector<PartState> states_;  // [parts]
  std::span<const float> v_;
  double squares_ = 0;  // |v|^2, of the elements that no encode() of stage 1 meets
  FrameHeader first_;   // Header with the operation's first sequence number.
};

}  // namespace laconic::collective
