// One round: the mean over the ranks of one vector each, as small as the codec makes it, equal bit
// for bit on all. What every sync method is built from.
//
//   P  world_size    d  parameters    v  this rank's vector, [d]    e  residual of error feedback
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/communicator.h"
#include "common/collective/scheduled_mean.h"
#include "common/collective/shared_index_mean.h"
#include "common/compress/codec.h"
#include "common/compress/feedback.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread.
class MeanExchange {
 public:
  // Errors: InvalidArgument for a spec outside its ranges, or an empty layout.
  static absl::StatusOr<std::unique_ptr<MeanExchange>> make(const core::ExchangeSpec& spec,
                                                            const core::Layout& layout,
                                                            collective::Communicator& communicator);

  int64_t elements() const { return elements_; }

  // Replaces `parameters` ([d]) by rank 0's and takes their digest. Ranks that built the same start
  // from the seed compare 8 bytes each; only where one differs do the parameters travel.
  absl::Status share_from_rank_0(std::span<float> parameters);

  // Writes the mean of the ranks' vectors to `out` ([d], may be `v` itself).
  //
  // By the schedule that core::choose_schedule() takes. Sharded without a codec:
  // Communicator::all_reduce_mean, in double. All-gather with one: every rank's payload is decoded,
  // its own included, and summed in rank order in float32; with EF21 the sum changes the mean that
  // all ranks keep. With a shared index: SharedIndexMean; by overlap an all-gather of the ranks'
  // own top-k before it, until a measurement, every kOverlapEvery rounds, finds the supports alike.
  // The others: ScheduledMean. All ranks get the same. Errors: those of the communicator and the
  // codec; then error feedback is rolled back, v is unchanged, `out`, where it is another vector,
  // unspecified, and the round does not count. It may be called again, with the same v: what is
  // owed already is not added twice.
  absl::Status mean(std::span<const float> v, std::span<float> out);

  // For methods that make their own messages: one operation of the round under way each. Whatever
  // they change, they change after the last operation of the round, and then call end_round(), so
  // that an aborted round leaves no trace.
  //
  //   payload    goes to all; payload_bytes_max bounds what may come
  //   returns    [P] payloads in rank order, own one included
  absl::StatusOr<std::vector<collective::Payload>> gather(const collective::Payload& payload,
                                                          int64_t payload_bytes_max);
  // The mean over the ranks of any one length, in double, in place. After an error `in_out` is
  // unchanged.
  absl::Status mean_of(std::span<float> in_out);
  void end_round(const RoundDecision& decision, const compress::FeedbackNorms& norms);
  void add_compress_seconds(double seconds) { stats_.compress_seconds += seconds; }
  void add_decompress_seconds(double seconds) { stats_.decompress_seconds += seconds; }

  // Counters, digest, and what error feedback keeps. Errors of restore: as SyncMethod::restore.
  void save(core::StateWriter& writer) const;
  absl::Status restore(core::StateReader& reader);

  // Digest of what all ranks hold after the round; rides in the frames of the next one.
  void take_digest(std::span<const float> parameters);

  uint64_t digest() const { return digest_; }
  const SyncStats& stats() const { return stats_; }
  core::Schedule schedule() const { return schedule_; }
  int rank() const { return communicator_.rank(); }
  int world_size() const { return communicator_.world_size(); }

 private:
  static absl::StatusOr<std::unique_ptr<MeanExchange>> make_shared_index(
      const core::ExchangeSpec& spec, const core::Layout& layout,
      collective::Communicator& communicator);
  static absl::StatusOr<std::unique_ptr<MeanExchange>> make_plain(
      const core::ExchangeSpec& spec, const core::Layout& layout,
      collective::Communicator& communicator);
  MeanExchange(core::Schedule schedule, int64_t elements, collective::Communicator& communicator);

  collective::OpTag tag() const;
  absl::StatusOr<bool> starts_alike(std::span<const float> parameters);
  absl::Status copy_from_rank_0(std::span<float> parameters);
  absl::Status dense_mean(std::span<const float> v, std::span<float> out);
  absl::Status gathered_mean(std::span<const float> v, std::span<float> out);
  absl::Status scheduled_mean(std::span<const float> v, std::span<float> out);
  absl::Status shared_index_mean(std::span<const float> v, std::span<float> out);
  // After an all-gather of the ranks' own elements.
  void watch_overlap(const std::vector<collective::Payload>& payloads);
  void take_norms(const compress::FeedbackNorms& norms);
  // The mean of what the payloads decode to.
  absl::Status decode_mean(const std::vector<collective::Payload>& payloads,
                           std::span<float> out) const;
  // [d]
  std::span<float> scratch();
  // `out`, or memory of our own where that is v, which must outlast an error.
  std::span<float> place_for_mean(std::span<const float> v, std::span<float> out);

  const core::Schedule schedule_;
  const int64_t elements_;
  collective::Communicator& communicator_;
  std::unique_ptr<collective::ScheduledMean> scheduled_;       // null for the other two ways
  std::unique_ptr<collective::SharedIndexMean> shared_index_;  // null unless the spec has one
  double overlap_wanted_ = 0;  // for shared_index_ in place of gathered_mean(); 0: from the start
  float overlap_ = 0;          // last measured
  bool shares_index_ = true;   // with shared_index_
  std::unique_ptr<compress::Codec> codec_;        // of gathered_mean(), else null
  std::unique_ptr<compress::Feedback> feedback_;  // with codec_
  std::vector<float> scratch_;                    // [d]
  std::vector<float> mean_state_;                 // [d]: H of ef21.h; else empty
  std::string identity_;  // of what is kept: a state of another one does not fit
  uint64_t digest_ = 0;
  SyncStats stats_;
};

inline constexpr int64_t kOverlapEvery = 8;  // rounds

// Steps and rounds of a run are below it.
inline constexpr int64_t kStepsMax = int64_t{1} << 40;

// Adds the seconds of its life to `total`.
class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() {
    const std::chrono::duration<double> life = std::chrono::steady_clock::now() - start_;
    total_ += life.count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& total_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Errors: InvalidArgument that says in which step training diverged, and where, if `values` hold a
// NaN or an infinity. what: "the parameters".
absl::Status check_finite(std::span<const float> values, const char* what, int rank, int64_t step);

// For methods that make their own messages. Errors: InvalidArgument if `spec` has a codec, error
// feedback or a shared index beside them, or another schedule than kAuto and `own`.
absl::Status check_own_codec(const char* method, const core::ExchangeSpec& spec,
                             core::Schedule own);

// Errors: InvalidArgument if a span of `view` has not `elements` elements.
absl::Status check_view(const ModelView& view, int64_t elements);

}  // namespace laconic::sync
