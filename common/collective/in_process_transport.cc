#include "common/collective/in_process_transport.h"

#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

// What travels: the same bytes as on a network, the payload by reference.
struct Message {
  std::vector<uint8_t> header;
  Payload payload;

  int64_t bytes() const { return static_cast<int64_t>(header.size() + payload.size); }
};

// One ordered pair of ranks.
struct Way {
  std::deque<Message> messages;
  int64_t bytes = 0;
  int64_t sent = 0;
  int64_t received = 0;
  int64_t payload_sent = 0;
  int64_t payload_received = 0;
  bool held = false;
  std::optional<size_t> corrupt_byte;
};

// One rank.
struct Member {
  bool ended = false;
  bool gone = false;
  absl::Status aborted;
};

void corrupt(Message& message, size_t byte) {
  if (byte < message.header.size()) {
    message.header[byte] ^= 1;
    return;
  }
  const size_t at = byte - message.header.size();
  if (at >= message.payload.size) {
    message.payload.size -= message.payload.size > 0 ? 1 : 0;
    return;
  }
  const std::span<const uint8_t> bytes = message.payload.bytes();
  std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  copy[at] ^= 1;
  message.payload = Payload(std::move(copy));
}

}  // namespace

class InProcessNetwork::Shared {
 public:
  explicit Shared(int world_size)
      : world_size_(world_size),
        members_(static_cast<size_t>(world_size)),
        ways_(static_cast<size_t>(world_size) * static_cast<size_t>(world_size)) {}

  int world_size() const { return world_size_; }

  absl::Status send(int from, int to, const Frame& frame, absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    Way& out = way(from, to);
    const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !failure(from).ok() || out.bytes < kQueueBytesMax;
    };
    const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
    LACONIC_RETURN_IF_ERROR(failure(from));
    if (!in_time) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", to, " took no frame within the deadline"));
    }
    const auto header = encode_frame_header(frame.header);
    Message message{{header.begin(), header.end()}, frame.payload};
    if (out.corrupt_byte.has_value()) {
      corrupt(message, *std::exchange(out.corrupt_byte, std::nullopt));
    }
    out.sent += frame.bytes();
    out.payload_sent += static_cast<int64_t>(frame.payload.size);
    out.bytes += message.bytes();
    out.messages.push_back(std::move(message));
    return absl::OkStatus();
  }

  absl::StatusOr<Frame> receive(int from, int to, absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    Way& in = way(from, to);
    const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return arrived(in) || member(from).ended || !failure(to).ok();
    };
    const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
    LACONIC_RETURN_IF_ERROR(member(to).aborted);
    if (!arrived(in)) {
      LACONIC_RETURN_IF_ERROR(failure(to));
      return in_time ? absl::UnavailableError(absl::StrCat("rank ", from, " closed its stream"))
                     : absl::DeadlineExceededError(
                           absl::StrCat("no frame from rank ", from, " within the deadline"));
    }
    const Message message = std::move(in.messages.front());
    in.messages.pop_front();
    in.bytes -= message.bytes();
    in.received += message.bytes();
    in.payload_received += static_cast<int64_t>(message.payload.size);
    LACONIC_ASSIGN_OR_RETURN(const FrameHeader header, decode_frame_header(message.header));
    if (header.lane_sequence != 0) {
      return absl::DataLossError(absl::StrCat("frame: number ", header.lane_sequence,
                                              " on its way, but this way has no lanes"));
    }
    return Frame{header, message.payload};
  }

  absl::Status finish(int rank, absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    member(rank).ended = true;
    const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !failure(rank).ok() || unended() < 0;
    };
    const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
    LACONIC_RETURN_IF_ERROR(failure(rank));
    if (!in_time) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", unended(), " has not ended within the deadline"));
    }
    return absl::OkStatus();
  }

  void drop(int rank) {
    absl::MutexLock lock(&mutex_);
    if (member(rank).ended || member(rank).gone) {
      return;
    }
    member(rank).gone = true;
    lost_ = lost_ < 0 ? rank : lost_;
  }

  void abort(int rank, const absl::Status& reason) {
    absl::MutexLock lock(&mutex_);
    member(rank).aborted.Update(reason);
  }

  void corrupt_next(int from, int to, size_t byte) {
    absl::MutexLock lock(&mutex_);
    way(from, to).corrupt_byte = byte;
  }

  void set_held(int from, int to, bool held) {
    absl::MutexLock lock(&mutex_);
    way(from, to).held = held;
  }

  ByteCounts peer_bytes(int rank, int peer) {
    absl::MutexLock lock(&mutex_);
    const Way& out = way(rank, peer);
    const Way& in = way(peer, rank);
    return {.sent = out.sent,
            .received = in.received,
            .payload_sent = out.payload_sent,
            .payload_received = in.payload_received};
  }

  ByteCounts bytes(int rank) {
    ByteCounts all;
    for (int peer = 0; peer < world_size_; ++peer) {
      all += peer_bytes(rank, peer);
    }
    return all;
  }

  int lost_rank() {
    absl::MutexLock lock(&mutex_);
    return lost_;
  }

 private:
  Member& member(int rank) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return members_[static_cast<size_t>(rank)];
  }
  Way& way(int from, int to) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ways_[static_cast<size_t>(from) * static_cast<size_t>(world_size_) +
                 static_cast<size_t>(to)];
  }
  static bool arrived(const Way& way) { return !way.held && !way.messages.empty(); }

  // Why `rank` cannot go on; OK if it can.
  absl::Status failure(int rank) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    if (!member(rank).aborted.ok() || lost_ < 0) {
      return member(rank).aborted;
    }
    return absl::UnavailableError(absl::StrCat("rank ", lost_, " closed its stream"));
  }

  // The lowest rank that has not said that nothing follows; -1 when all have.
  int unended() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    for (int rank = 0; rank < world_size_; ++rank) {
      if (!member(rank).ended) {
        return rank;
      }
    }
    return -1;
  }

  const int world_size_;
  absl::Mutex mutex_;
  std::vector<Member> members_ ABSL_GUARDED_BY(mutex_);  // [P]
  std::vector<Way> ways_ ABSL_GUARDED_BY(mutex_);        // [P, P], by sender
  int lost_ ABSL_GUARDED_BY(mutex_) = -1;
};

class InProcessNetwork::Endpoint : public Transport {
 public:
  Endpoint(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  ~Endpoint() override { shared_->drop(rank_); }

  int rank() const override { return rank_; }
  int world_size() const override { return shared_->world_size(); }
  absl::Status send(int to_rank, Frame frame, absl::Time deadline) override {
    return shared_->send(rank_, to_rank, frame, deadline);
  }
  absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) override {
    return shared_->receive(from_rank, rank_, deadline);
  }
  absl::Status finish(absl::Time deadline) override { return shared_->finish(rank_, deadline); }
  int lost_rank() const override { return shared_->lost_rank(); }
  ByteCounts bytes() const override { return shared_->bytes(rank_); }
  ByteCounts peer_bytes(int peer_rank) const override {
    return shared_->peer_bytes(rank_, peer_rank);
  }
  void abort(const absl::Status& reason) override { shared_->abort(rank_, reason); }

 private:
  const std::shared_ptr<Shared> shared_;
  const int rank_;
};

InProcessNetwork::InProcessNetwork(int world_size)
    : shared_(std::make_shared<Shared>(world_size)) {}
InProcessNetwork::~InProcessNetwork() = default;

std::unique_ptr<Transport> InProcessNetwork::endpoint(int rank) {
  return std::make_unique<Endpoint>(shared_, rank);
}

void InProcessNetwork::drop(int rank) {
  shared_->drop(rank);
}
void InProcessNetwork::corrupt_next(int from_rank, int to_rank, size_t byte) {
  shared_->corrupt_next(from_rank, to_rank, byte);
}
void InProcessNetwork::hold(int from_rank, int to_rank) {
  shared_->set_held(from_rank, to_rank, true);
}
void InProcessNetwork::release(int from_rank, int to_rank) {
  shared_->set_held(from_rank, to_rank, false);
}

}  // namespace laconic::collective
