#include "tests/collective_nccl/fake_nccl.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace {

enum Kind { kReduceScatter, kAllGather, kExchange };

}  // namespace

// Operations of the ranks, matched by their place in the order.
struct FakeNcclSite {
  using Message = laconic::testing::FakeNccl::Message;
  struct Operation {
    int kind = 0;
    std::vector<Message> messages;
  };

  FakeNcclSite(int ranks, laconic::testing::FakeNcclMemory& memory_of_ranks)
      : memory(memory_of_ranks), operations(static_cast<size_t>(ranks)) {}

  // Runs what all ranks have given. mutex held.
  void run_ready() {
    while (std::all_of(operations.begin(), operations.end(),
                       [&](const auto& of_rank) { return of_rank.size() > done; })) {
      if (!run(done)) {
        return;  // As NCCL does with two ends that do not fit: hangs.
      }
      ++done;
    }
  }

  bool run(size_t index) {
    const int kind = operations[0][index].kind;
    for (const auto& of_rank : operations) {
      if (of_rank[index].kind != kind) {
        return false;
      }
    }
    for (size_t rank = 0; rank < operations.size(); ++rank) {
      for (const Message& in : operations[rank][index].messages) {
        if (in.to != nullptr && !receive(index, static_cast<int>(rank), in, kind)) {
          return false;
        }
      }
    }
    return true;
  }

  // Sums are float32 messages of which the first is copied and the others added.
  bool receive(size_t index, int rank, const Message& in, int kind) {
    for (const Message& out : operations[static_cast<size_t>(in.peer)][index].messages) {
      if (out.from == nullptr || out.peer != rank) {
        continue;
      }
      if (out.bytes != in.bytes) {
        return false;
      }
      if (kind != kReduceScatter || in.peer == 0) {
        memory.copy(in.to, out.from, in.bytes);
      } else {
        memory.add(reinterpret_cast<float*>(in.to), reinterpret_cast<const float*>(out.from),
                   in.bytes / sizeof(float));
      }
      return true;
    }
    return false;
  }

  laconic::testing::FakeNcclMemory& memory;
  absl::Mutex mutex;
  std::vector<std::vector<Operation>> operations;  // [rank]
  size_t done = 0;
  int joined = 0;
  int finalized = 0;
};

namespace laconic::testing {
namespace {

// Counts the threads inside a communicator: there may be one.
class Inside {
 public:
  Inside(Comm comm, FakeNcclNetwork& network) : comm_(comm) {
    if (comm_->inside++ > 0) {
      ++network.misuses;
    }
  }
  ~Inside() { --comm_->inside; }

 private:
  const Comm comm_;
};

}  // namespace

void FakeNcclMemory::copy(void* to, const void* from, size_t bytes) {
  if (to != from && bytes > 0) {
    std::memcpy(to, from, bytes);
  }
}

void FakeNcclMemory::add(float* to, const float* from, size_t count) {
  std::transform(to, to + count, from, to, std::plus<float>());
}

std::shared_ptr<FakeNcclSite> FakeNcclNetwork::site(const UniqueId& id, int ranks) {
  const absl::MutexLock lock(&mutex_);
  auto& made = sites_[id];
  if (made == nullptr) {
    made = std::make_shared<FakeNcclSite>(ranks, *memory_);
  }
  return made;
}

UniqueId FakeNcclNetwork::new_id() {
  const absl::MutexLock lock(&mutex_);
  UniqueId id = {};
  id[0] = ++ids_;
  return id;
}

void FakeNcclNetwork::break_all(Result result, const std::string& details) {
  const absl::MutexLock lock(&mutex_);
  broken_ = result;
  details_ = details;
}
Result FakeNcclNetwork::broken() const {
  const absl::MutexLock lock(&mutex_);
  return broken_;
}
std::string FakeNcclNetwork::details() const {
  const absl::MutexLock lock(&mutex_);
  return details_;
}

Result FakeNccl::take_failure() {
  if (fail_next_ != Result::kSuccess && passed_before_failure_-- > 0) {
    return Result::kSuccess;
  }
  return std::exchange(fail_next_, Result::kSuccess);
}

Result FakeNccl::get_unique_id(UniqueId& id) {
  id = network_.new_id();
  return take_failure();
}

Result FakeNccl::init_rank(Comm& comm, int ranks, const UniqueId& id, int rank) {
  if (const Result failure = take_failure(); failure != Result::kSuccess) {
    return failure;
  }
  comm = new ncclComm{network_.site(id, ranks), rank};
  const absl::MutexLock lock(&comm->site->mutex);
  ++comm->site->joined;
  ++network_.inits;
  return Result::kInProgress;
}

Result FakeNccl::async_error(Comm comm, Result& state) {
  const Inside inside(comm, network_);
  state = network_.broken();
  if (state != Result::kSuccess) {
    return Result::kSuccess;
  }
  const absl::MutexLock lock(&comm->site->mutex);
  const auto ranks = static_cast<int>(comm->site->operations.size());
  const bool waits = comm->site->joined < ranks ||
                     (comm->ending && comm->site->finalized < ranks) || comm->settling;
  comm->settling = false;  // Settled at the second look.
  state = waits ? Result::kInProgress : Result::kSuccess;
  return Result::kSuccess;
}

Result FakeNccl::finalize(Comm comm) {
  const Inside inside(comm, network_);
  const absl::MutexLock lock(&comm->site->mutex);
  comm->ending = true;
  ++comm->site->finalized;
  return Result::kInProgress;
}

Result FakeNccl::destroy(Comm comm) {
  ++network_.destroys;
  delete comm;
  return Result::kSuccess;
}

Result FakeNccl::abort(Comm comm) {
  if (comm->inside > 0) {
    ++network_.misuses;
  }
  ++network_.aborts;
  delete comm;
  return Result::kSuccess;
}

std::string FakeNccl::last_error(Comm) {
  return network_.details();
}

Result FakeNccl::group_start() {
  in_group_ = true;
  return Result::kSuccess;
}

Result FakeNccl::group_end() {
  in_group_ = false;
  if (group_comm_ == nullptr) {
    return Result::kSuccess;
  }
  return post(std::exchange(group_comm_, nullptr), group_stream_, kExchange, std::move(group_));
}

Result FakeNccl::send(const void* from, size_t bytes, int peer, Comm comm, Stream stream) {
  if (!in_group_) {
    ++network_.misuses;
  }
  group_.push_back({peer, nullptr, static_cast<const uint8_t*>(from), bytes});
  group_comm_ = comm;
  group_stream_ = stream;
  return take_failure();
}

Result FakeNccl::receive(void* to, size_t bytes, int peer, Comm comm, Stream stream) {
  group_.push_back({peer, static_cast<uint8_t*>(to), nullptr, bytes});
  group_comm_ = comm;
  group_stream_ = stream;
  return Result::kSuccess;
}

Result FakeNccl::reduce_scatter(const float* in, float* out, size_t count, Comm comm,
                                Stream stream) {
  std::vector<Message> messages;
  for (size_t peer = 0; peer < comm->site->operations.size(); ++peer) {
    const auto* const bytes = reinterpret_cast<const uint8_t*>(in + peer * count);
    messages.push_back({static_cast<int>(peer), nullptr, bytes, count * sizeof(float)});
    messages.push_back(
        {static_cast<int>(peer), reinterpret_cast<uint8_t*>(out), nullptr, count * sizeof(float)});
  }
  return post(comm, stream, kReduceScatter, std::move(messages));
}

Result FakeNccl::all_gather(const void* in, void* out, size_t bytes, Comm comm, Stream stream) {
  std::vector<Message> messages;
  for (size_t peer = 0; peer < comm->site->operations.size(); ++peer) {
    messages.push_back({static_cast<int>(peer), nullptr, static_cast<const uint8_t*>(in), bytes});
    messages.push_back(
        {static_cast<int>(peer), static_cast<uint8_t*>(out) + peer * bytes, nullptr, bytes});
  }
  return post(comm, stream, kAllGather, std::move(messages));
}

Result FakeNccl::post(Comm comm, Stream stream, int kind, std::vector<Message> messages) {
  const Inside inside(comm, network_);
  if (comm->settling) {
    ++network_.misuses;
    return Result::kInvalidUsage;
  }
  if (const Result failure = take_failure(); failure != Result::kSuccess) {
    return failure;
  }
  comm->settling = true;
  ++network_.operations;
  stream->site = comm->site;
  ++stream->given;
  const absl::MutexLock lock(&comm->site->mutex);
  comm->site->operations[static_cast<size_t>(comm->rank)].push_back({kind, std::move(messages)});
  comm->site->run_ready();
  return Result::kInProgress;
}

absl::StatusOr<Stream> FakeNccl::make_stream() {
  return new CUstream_st();
}

void FakeNccl::free_stream(Stream stream) {
  delete stream;
}

absl::Status FakeNccl::order(Stream earlier, Stream later) {
  orders.emplace_back(earlier, later);
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeNccl::is_done(Stream stream) {
  if (stream->site == nullptr) {
    return true;
  }
  const absl::MutexLock lock(&stream->site->mutex);
  return stream->site->done >= stream->given;
}

}  // namespace laconic::testing
