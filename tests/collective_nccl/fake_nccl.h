// NCCL over host memory and threads, for tests: as asynchronous as the real one, as silent about a
// missing peer, and as strict about who may call what and when.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/collective/nccl/nccl_api.h"

struct FakeNcclSite;

// What the opaque handles of nccl_api.h are here.
struct ncclComm {
  std::shared_ptr<FakeNcclSite> site;
  int rank = 0;
  bool settling = true;         // The last call has not been settled by async_error().
  bool ending = false;          // finalize() was called.
  std::atomic<int> inside = 0;  // Threads inside a call.
};
struct CUstream_st {
  std::shared_ptr<FakeNcclSite> site;
  size_t given = 0;  // Operations.
};

namespace laconic::testing {

using collective::nccl::Comm;
using collective::nccl::Result;
using collective::nccl::Stream;
using collective::nccl::UniqueId;

// The wires between the ranks of a test. Thread-safe.
class FakeNcclNetwork {
 public:
  std::shared_ptr<FakeNcclSite> site(const UniqueId& id, int ranks);
  UniqueId new_id();
  // From now on all communicators report this.
  void break_all(Result result, const std::string& details);
  Result broken() const;
  std::string details() const;

  std::atomic<int> inits = 0;
  std::atomic<int> aborts = 0;
  std::atomic<int> destroys = 0;
  std::atomic<int> misuses = 0;  // Calls that nccl_api.h forbids.

 private:
  mutable absl::Mutex mutex_;
  std::map<UniqueId, std::shared_ptr<FakeNcclSite>> sites_;
  uint8_t ids_ = 0;
  Result broken_ = Result::kSuccess;
  std::string details_;
};

// One rank's.
class FakeNccl final : public collective::nccl::Api {
 public:
  explicit FakeNccl(FakeNcclNetwork& network) : network_(network) {}

  Result get_unique_id(UniqueId& id) override;
  Result init_rank(Comm& comm, int ranks, const UniqueId& id, int rank) override;
  Result async_error(Comm comm, Result& state) override;
  Result finalize(Comm comm) override;
  Result destroy(Comm comm) override;
  Result abort(Comm comm) override;
  std::string last_error(Comm comm) override;
  Result group_start() override;
  Result group_end() override;
  Result send(const void* from, size_t bytes, int peer, Comm comm, Stream stream) override;
  Result receive(void* to, size_t bytes, int peer, Comm comm, Stream stream) override;
  Result reduce_scatter(const float* in, float* out, size_t count, Comm comm,
                        Stream stream) override;
  Result all_gather(const void* in, void* out, size_t bytes, Comm comm, Stream stream) override;
  absl::StatusOr<Stream> make_stream() override;
  void free_stream(Stream stream) override;
  absl::Status order(Stream earlier, Stream later) override;
  absl::StatusOr<bool> is_done(Stream stream) override;

  // The next call that starts an operation, or makes an id, returns this.
  void fail_next(Result result) { fail_next_ = result; }
  // Pairs of order(), in order.
  std::vector<std::pair<Stream, Stream>> orders;

 private:
  struct Message {
    int peer = 0;
    uint8_t* to = nullptr;
    const uint8_t* from = nullptr;
    size_t bytes = 0;
  };
  friend struct ::FakeNcclSite;

  Result take_failure();
  Result post(Comm comm, Stream stream, int kind, std::vector<Message> messages);

  FakeNcclNetwork& network_;
  Result fail_next_ = Result::kSuccess;
  bool in_group_ = false;
  std::vector<Message> group_;
  Comm group_comm_ = nullptr;
  Stream group_stream_ = nullptr;
};

}  // namespace laconic::testing
