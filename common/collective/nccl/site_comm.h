// The GPUs of one site, over NCCL: float32 sums, and payloads of a fixed capacity. Every wait has a
// deadline, and another thread can end it.
//
//   G  ranks of the site
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/collective/communicator.h"
#include "common/collective/nccl/nccl_api.h"

namespace laconic::collective::nccl {

struct SiteCommOptions {
  int rank = 0;   // within the site, 0..G-1
  int ranks = 1;  // G
  UniqueId id = {};
  absl::Duration deadline = absl::Seconds(60);  // of a connect, of a call, and of a wait
};

// The id of this rank's site: the first rank of each site makes one, all ranks of `communicator`
// take part. ranks_per_site: divides its world size.
// Errors: those of Communicator::all_gather; Internal if NCCL makes none; DataLoss if the first
// rank sent no id.
absl::StatusOr<UniqueId> share_site_id(Api& api, Communicator& communicator, int ranks_per_site,
                                       const OpTag& tag);

// Bytes that go to, or come from, one rank of the site; device memory.
struct Outgoing {
  int peer = 0;
  const void* bytes = nullptr;
};
struct Incoming {
  int peer = 0;
  void* bytes = nullptr;
};

// Owned by one thread, except abort(). After an error the communicator is gone on this rank, and
// all later calls fail with the same status: the next generation makes a new one.
//
// All operations are put on a stream of its own, behind what `compute` has been given so far;
// `compute` goes on behind them. They return before they are done: wait() says how they ended. All
// ranks of the site call the same operations in the same order.
//
// Errors of all: Unavailable if a peer is gone or the network fails, DeadlineExceeded, the status
// given to abort(), Internal with what NCCL and CUDA say.
class SiteComm {
 public:
  // Waits until all G ranks have come. api: outlives this object.
  static absl::StatusOr<std::unique_ptr<SiteComm>> connect(Api& api,
                                                           const SiteCommOptions& options);
  // Without finish() it looks to the others like a crash.
  ~SiteComm();
  SiteComm(const SiteComm&) = delete;
  SiteComm& operator=(const SiteComm&) = delete;

  int rank() const { return options_.rank; }
  int ranks() const { return options_.ranks; }

  // out: [count] f32, the sum over the ranks of stretch rank() of in: [G count].
  absl::Status reduce_scatter(const float* in, float* out, int64_t count, Stream compute);
  // out: [G bytes], the ranks' `in`, [bytes], in rank order.
  absl::Status all_gather(const void* in, void* out, int64_t bytes, Stream compute);
  // One group: sends and receives `capacity` bytes each, whatever a payload's size; its header has
  // the true one. So no size is exchanged, and the host does not wait (NCCL hangs or corrupts where
  // the sizes of two ends differ).
  absl::Status exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming,
                        int64_t capacity, Stream compute);

  // Waits until all operations are done.
  absl::Status wait();

  // wait(), then ends the communicator in good order, together with the others.
  absl::Status finish();

  // Ends the operation under way with `reason`, and all later ones. Any thread. NCCL is left alone
  // by all threads while the communicator is aborted.
  void abort(const absl::Status& reason);

 private:
  SiteComm(Api& api, const SiteCommOptions& options) : api_(api), options_(options) {}

  template <typename Call>
  absl::Status start(const Call& call, Stream compute);
  // Polls until NCCL has taken the last call; with `stream`, until its work is done.
  absl::Status settle(bool stream);
  absl::StatusOr<bool> poll(bool stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status check(Result result, const char* what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status fail(absl::Status reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Api& api_;
  const SiteCommOptions options_;
  // Also held while NCCL is called, which does not wait: an abort must find no thread inside.
  absl::Mutex mutex_;
  Comm comm_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: none yet, or gone
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  Stream stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace laconic::collective::nccl
