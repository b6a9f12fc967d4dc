// When and what the ranks exchange. No method knows the transport, torch or the model: it sees two
// flat vectors, the parameters theta [d] and the gradient g [d] of this rank.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "common/core/state_bytes.h"
#include "common/sync/similarity.h"

namespace laconic::sync {

// One rank's view of the model at one step, in host memory: that of the model, or a copy which the
// caller keeps of a model on another device. The spans stay the same for the whole run.
struct ModelView {
  std::span<float> parameters;  // theta, [d]
  std::span<float> gradients;   // g, [d]
};

// Why a rank sent its vector in a round, or why it was silent.
enum class RoundReason : uint8_t {
  kEveryRound = 0,   // sent: the method always does
  kFirstRounds = 1,  // sent: too early for the rule
  kChanged = 2,      // sent: the change matters
  kAged = 3,         // sent: the last message was used long enough
  kDenseWarmUp = 4,  // sent as float32: the first steps
  kSmallChange = 5,  // silent: the others use the last message again
  kSimilarity = 6,   // sent: as many steps after the last round as the similarity allows
  kOverlap = 7,      // sent: elements that one rank named, since the ranks' own are much the same
};
inline constexpr RoundReason kLastRoundReason = RoundReason::kOverlap;

// What this rank decided in a round, and how many ranks sent in it.
struct RoundDecision {
  RoundReason reason = RoundReason::kEveryRound;
  int senders = 0;     // 0..P
  double overlap = 0;  // of the supports of the ranks when last measured, 0..1

  bool operator==(const RoundDecision&) const = default;
};

// What a call does with the vectors of the view: which of them the caller of a copied view must
// copy, and in which direction.
enum class Access : uint8_t { kNone, kRead, kReadWrite };
struct ViewUse {
  Access parameters = Access::kReadWrite;
  Access gradients = Access::kReadWrite;
};

// What the rounds cost so far, and how the last one went.
struct SyncStats {
  int64_t rounds = 0;
  double compress_seconds = 0;
  double exchange_seconds = 0;
  double decompress_seconds = 0;
  double residual_norm = 0;            // L2 after the last round
  double update_norm = 0;              // L2 of what the last round was given to send
  double compression_error_ratio = 0;  // of the last round
  RoundDecision decision;              // of the last round
};

// Owned by one thread. The training loop calls, at every step t = 1..steps,
//   reduce_gradients(view)   after the backward pass, before clipping and the optimizer,
//   end_step(view, last)     after the optimizer.
class SyncMethod {
 public:
  virtual ~SyncMethod() = default;

  // Makes every rank start from rank 0's parameters bit for bit, and remembers them as theta.
  virtual absl::Status begin(ModelView view) = 0;

  virtual absl::Status reduce_gradients(ModelView view) = 0;

  // last: this was the last step of the run; a round that is due anyway ends it.
  virtual absl::Status end_step(ModelView view, bool last) = 0;

  // Of the next reduce_gradients() and end_step(). Everything is right, and less is faster.
  virtual ViewUse use_of_reduce_gradients() const { return {}; }
  virtual ViewUse use_of_end_step(bool /*last*/) const { return {}; }

  // True when all ranks hold the same parameters now: the moment to evaluate or save.
  virtual bool parameters_are_shared() const = 0;

  // The parameters [d] that all ranks hold equal while those they train on differ, to evaluate the
  // model at; empty where a method keeps none, and while an exchange is under way. What is written
  // to them must be undone. While they are not empty the caller may use the communicator.
  virtual std::span<float> shared_parameters() { return {}; }

  // What the frames of the next exchange say, for words that are sent before it.
  virtual collective::OpTag next_tag() const {
    return {.round = static_cast<uint64_t>(stats().rounds), .previous_digest = digest()};
  }

  // How alike the ranks are, as all of them measured it between two shared states; the same numbers
  // on every rank. Returns the steps H between rounds from now on, 0 from a method whose H does not
  // follow the similarity.
  virtual int64_t take_similarity(const Similarity& /*similarity*/) { return 0; }

  // Waits until no exchange is under way, so that the state can be saved. Errors: those of that
  // exchange, which the step that would apply it tries again.
  virtual absl::Status settle() { return absl::OkStatus(); }

  // XXH3-64 of the shared parameters after the last round.
  virtual uint64_t digest() const = 0;
  virtual SyncStats stats() const = 0;

  // The state of this rank between two steps: counters, digest, residuals, momentum, shared
  // parameters where they are kept; not the model's parameters nor the optimizer's state. Restored,
  // in place of begin(), into a method that was made for the same spec, layout, rank and world, it
  // goes on bit for bit as it would have.
  // Errors of save: Unimplemented if the method cannot. Errors of restore: DataLoss for bytes that
  // are no such state, FailedPrecondition if it is of another method, codec, layout, rank or world;
  // the method must be restored again, or not be used, after one.
  absl::StatusOr<std::vector<uint8_t>> save() const;
  absl::Status restore(std::span<const uint8_t> bytes);

 protected:
  // The fields, always the same in the same order. Errors: as save() and restore().
  virtual absl::Status save_fields(core::StateWriter& writer) const;
  virtual absl::Status restore_fields(core::StateReader& reader);
};

// Makes the method that `spec` names. `communicator` must outlive it.
// Errors: InvalidArgument for a spec outside its ranges.
absl::StatusOr<std::unique_ptr<SyncMethod>> make_sync_method(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator);

}  // namespace laconic::sync
