// When and what the ranks exchange. No method knows the transport, torch or the model: it sees two
// flat vectors, the parameters theta [d] and the gradient g [d] of this rank.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"

namespace laconic::sync {

// One rank's view of the model at one step. The spans stay the same for the whole run.
struct ModelView {
  std::span<float> parameters;  // theta, [d]
  std::span<float> gradients;   // g, [d]
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

  // True when all ranks hold the same parameters now: the moment to evaluate or save.
  virtual bool parameters_are_shared() const = 0;

  // XXH3-64 of the shared parameters after the last round.
  virtual uint64_t digest() const = 0;
  virtual SyncStats stats() const = 0;
};

// Makes the method that `spec` names. `communicator` must outlive it.
// Errors: InvalidArgument for a spec outside its ranges.
absl::StatusOr<std::unique_ptr<SyncMethod>> make_sync_method(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator);

}  // namespace laconic::sync
