// The mean over the ranks of the same few elements of each rank's vector: the ranks agree on a
// support, then send values only, which add up under any sum.
//
//   P  world_size    d  elements    k  values sent    a  what a rank owes and sends from, [d]
//   B  elements of a block
//
// Leader (cyclic local top-k): rank (round mod P) takes the k largest of its own a and broadcasts
// their positions (compress/positions.h) in pieces, so that every rank sends about as much.
// Sketch: every rank has the energy |a|^2 of each block of B elements; their mean over the ranks,
// in 8 bits, is equal on all, and all take the blocks with the largest. No position travels, and of
// all supports made of blocks it is, but for the 8 bits, the one that leaves the ranks' residuals
// smallest together.
//
// Then mean = (1/P) sum_i a_i on the support, 0 elsewhere. With error feedback every rank keeps a_i
// outside the support, and on it what the values' code lost; an owner that encodes a mean again
// keeps P times what that lost, so the sum over the ranks of a_i is P mean + sum_i e_i.
// Bytes: at most 2 (P-1)/P of positions and values, constant in P; 4 alpha.
// Sources: Chen et al., "ScaleCom: Scalable Sparsified Gradient Compression for
// Communication-Efficient Distributed Training", NeurIPS 2020 (leader; its low-pass filter of the
// residual is not here, only the decay); ARC-Top-K, arXiv 2510.26709 (sketch; there of the
// projected rows of a gradient).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/scheduled_mean.h"
#include "common/compress/feedback.h"
#include "common/compress/select.h"
#include "common/core/shared_index_spec.h"

namespace laconic::collective {

struct SharedIndexOptions {
  int rank = 0;
  int world_size = 1;
  core::Schedule schedule = core::Schedule::kSharded;  // of the values; kRing with 32 bits
  core::SharedIndexSpec spec = {};
  int64_t elements = 0;
  bool error_feedback = false;
  double residual_decay = 1.0;  // 0..1
};

// Owned by one thread. One exchange is a transaction: run(), then commit() when all ranks have
// their mean, or rollback(). Memory: 4 d bytes for a, 12 k, and 8 d / B with a sketch.
class SharedIndexMean {
 public:
  // All ranks give the same options, but for the rank.
  // Errors: InvalidArgument for a spec outside the ranges of core/shared_index_spec.h, no elements,
  // or a schedule that is neither of the two.
  static absl::StatusOr<std::unique_ptr<SharedIndexMean>> make(const SharedIndexOptions& options);

  // Makes the mean of the ranks' vectors; bit-identical on all.
  //
  //   communicator  of the generation; its rank and world size are those of the options
  //   v             [d] f32; unchanged. After rollback() the same v again: what is owed already is
  //                 not added twice, and all ranks send the same bytes as before.
  //   tag           its round chooses the leader
  //
  // Errors: those of Communicator and ScheduledMean; DataLoss, blaming the leader, for positions
  // that are not k ascending ones below d; InvalidArgument if `v` has a wrong length, or a a NaN or
  // an infinity; FailedPrecondition if an exchange is open. After one the exchange is rolled back.
  absl::Status run(Communicator& communicator, std::span<const float> v, const OpTag& tag);

  // Writes the mean of the last run() to out, [d] f32.
  void write_mean(std::span<float> out) const;

  // Closes the exchange: the residual is what was not sent. Without an open one: zeros.
  absl::StatusOr<compress::FeedbackNorms> commit();
  // What was to be sent still is owed. Without an open exchange: nothing.
  void rollback();

  // What `feedback` owes is owed from now on, too, and forgotten there. No exchange may be open.
  void take_over(compress::Feedback& feedback) { feedback.take_owed(1, owed_); }

  // As Feedback::save and restore.
  void save(core::StateWriter& writer) const;
  absl::Status restore(core::StateReader& reader);

  // e; after a rollback a. [d].
  std::span<const float> residual() const { return owed_; }
  // The support of the last run(), ascending.
  std::span<const uint32_t> positions() const { return positions_; }

 private:
  explicit SharedIndexMean(const SharedIndexOptions& options);

  absl::Status take(std::span<const float> v);
  absl::Status exchange(Communicator& communicator, const OpTag& tag);
  absl::Status agree_by_leader(Communicator& communicator, const OpTag& tag);
  absl::Status agree_by_sketch(Communicator& communicator, const OpTag& tag);
  absl::Status take_positions(std::span<const uint8_t> frame);
  void take_blocks(std::span<const float> energies);

  const int rank_;
  const int world_size_;
  const core::SharedIndexSpec spec_;
  const bool error_feedback_;
  const float decay_;
  std::vector<float> owed_;                     // [d]: e, then a
  std::vector<uint32_t> positions_;             // [at most k]
  std::vector<float> values_;                   // [k]: of this rank, then their mean
  std::unique_ptr<ScheduledMean> value_mean_;   // null: Communicator::all_reduce_mean
  std::unique_ptr<ScheduledMean> sketch_mean_;  // null with a leader
  compress::TopKSelector selector_;
  double input_norm_ = 0;
  bool open_ = false;
  bool rolled_back_ = false;  // owed_ is an a that was rolled back
};

}  // namespace laconic::collective
