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

// Where the ranks' buffers lie: in host memory, unless a test says otherwise. Thread-safe.
class FakeNcclMemory {
 public:
  virtual ~FakeNcclMemory() = default;
  virtual void copy(void* to, const void* from, size_t bytes);
  // to[i] += from[i]
  virtual void add(float* to, const float* from, size_t count);
};

// The wires between the ranks of a test. Thread-safe.
class FakeNcclNetwork {
 public:
  FakeNcclNetwork() : FakeNcclNetwork(std::make_unique<FakeNcclMemory>()) {}
  explicit FakeNcclNetwork(std::unique_ptr<FakeNcclMemory> memory) : memory_(std::move(memory)) {}

  std::shared_ptr<FakeNcclSite> site(const UniqueId& id, int ranks);
  UniqueId new_id();
  // From now on all communicators report this.
  void break_all(Result result, const std::string& details);
  Result broken() const;
  std::string details() const;

  std::atomic<int> inits = 0;
  std::atomic<int> aborts = 0;
  std::atomic<int> destroys = 0;
  std::atomic<int> operations = 0;  // Of all ranks; a group is one.
  std::atomic<int> misuses = 0;     // Calls that nccl_api.h forbids.

 private:
  const std::unique_ptr<FakeNcclMemory> memory_;
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

  // The next call that starts an operation, or makes an id, returns this; `passed` come before it.
  void fail_next(Result result, int passed = 0) {
    fail_next_ = result;
    passed_before_failure_ = passed;
  }
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
  int passed_before_failure_ = 0;
  bool in_group_ = false;
  std::vector<Message> group_;
  Comm group_comm_ = nullptr;
  Stream group_stream_ = nullptr;
};

}  // namespace laconic::testing
