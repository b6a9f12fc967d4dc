#include "common/collective/peer_queues.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

int64_t bytes_of(const absl::StatusOr<Frame>& frame) {
  return frame.ok() ? frame->bytes() : kFrameHeaderBytes;
}

}  // namespace

PeerQueues::PeerQueues(int rank, int world_size)
    : rank_(rank), world_size_(world_size), peers_(static_cast<size_t>(world_size)) {
  for (int r = 0; r < world_size; ++r) {
    peers_[static_cast<size_t>(r)].name = absl::StrCat("rank ", r);
  }
}

void PeerQueues::set_addresses(const std::vector<std::string>& addresses) {
  absl::MutexLock lock(&mutex_);
  for (int r = 0; r < world_size_; ++r) {
    peer(r).name = absl::StrCat("rank ", r, " at ", addresses[static_cast<size_t>(r)]);
  }
}

absl::Status PeerQueues::send(int to, Frame frame, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  Peer& out = peer(to);
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || out.broken || out.outgoing_bytes < kQueueBytesMax;
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  LACONIC_RETURN_IF_ERROR(failure_);
  if (out.broken || out.end_queued) {
    return absl::UnavailableError(absl::StrCat(out.name, " closed its stream"));
  }
  if (!in_time) {
    return absl::DeadlineExceededError(
        absl::StrCat(out.name, " took no frame within the deadline"));
  }
  counts_.sent += frame.bytes();
  counts_.payload_sent += static_cast<int64_t>(frame.payload.size);
  out.outgoing_bytes += frame.bytes();
  out.outgoing.push_back(std::move(frame));
  return absl::OkStatus();
}

absl::StatusOr<Frame> PeerQueues::receive(int from, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  Peer& in = peer(from);
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !in.incoming.empty() || in.ended || !failure_.ok();
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  if (aborted_) {
    return failure_;
  }
  if (in.incoming.empty()) {
    LACONIC_RETURN_IF_ERROR(failure_);
    return in_time ? absl::UnavailableError(absl::StrCat(in.name, " closed its stream"))
                   : absl::DeadlineExceededError(
                         absl::StrCat("no frame from ", in.name, " within the deadline"));
  }
  absl::StatusOr<Frame> frame = std::move(in.incoming.front());
  in.incoming.pop_front();
  in.incoming_bytes -= bytes_of(frame);
  if (!frame.ok()) {
    return absl::Status(frame.status().code(),
                        absl::StrCat("from ", in.name, ": ", frame.status().message()));
  }
  counts_.received += frame->bytes();
  counts_.payload_received += static_cast<int64_t>(frame->payload.size);
  return frame;
}

absl::Status PeerQueues::wait_connected(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto unaccepted = [](const Peer& p) { return !p.accepted; };
  const auto unopened = [](const Peer& p) { return !p.opened; };
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || (first(unaccepted) < 0 && first(unopened) < 0);
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  LACONIC_RETURN_IF_ERROR(failure_);
  if (in_time) {
    return absl::OkStatus();
  }
  if (const int unreached = first(unaccepted); unreached >= 0) {
    return absl::DeadlineExceededError(absl::StrCat(
        "rank ", rank_, " could not reach ", peer(unreached).name,
        " in time: is its trainer running, and does every firewall between let this port pass?"));
  }
  return absl::DeadlineExceededError(
      absl::StrCat(peer(first(unopened)).name, " did not open its stream to ", peer(rank_).name,
                   " in time: does every firewall between let that port pass?"));
}

void PeerQueues::end_all() {
  absl::MutexLock lock(&mutex_);
  for (Peer& p : peers_) {
    p.end_queued = true;
  }
}

absl::Status PeerQueues::wait_ended(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto unended = [](const Peer& p) { return !p.ended || !p.done; };
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || first(unended) < 0;
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  LACONIC_RETURN_IF_ERROR(failure_);
  if (!in_time) {
    return absl::DeadlineExceededError(
        absl::StrCat(peer(first(unended)).name, " has not ended within the deadline"));
  }
  return absl::OkStatus();
}

void PeerQueues::abort(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (!aborted_) {
    aborted_ = true;
    failure_ = reason;
  }
}

int PeerQueues::lost_rank() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

ByteCounts PeerQueues::bytes() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

NextWrite PeerQueues::next_write(int to) {
  absl::MutexLock lock(&mutex_);
  Peer& out = peer(to);
  if (out.writing || out.released) {
    return {};
  }
  if (out.broken || out.end_started) {
    out.released = true;
    return {WriteStep::kRelease, {}};
  }
  if (!out.outgoing.empty()) {
    out.writing = true;
    return {WriteStep::kFrame, out.outgoing.front()};
  }
  if (out.end_queued) {
    out.writing = true;
    out.end_started = true;
    return {WriteStep::kEnd, {}};
  }
  return {};
}

void PeerQueues::write_done(int to, bool ok) {
  absl::MutexLock lock(&mutex_);
  Peer& out = peer(to);
  out.writing = false;
  out.broken = out.broken || !ok;
  if (!out.end_started && !out.outgoing.empty()) {
    out.outgoing_bytes -= out.outgoing.front().bytes();
    out.outgoing.pop_front();
  }
}

void PeerQueues::outgoing_accepted(int to) {
  absl::MutexLock lock(&mutex_);
  peer(to).accepted = true;
}

void PeerQueues::outgoing_broken(int to) {
  absl::MutexLock lock(&mutex_);
  peer(to).broken = true;
}

void PeerQueues::outgoing_done(int to, const absl::Status& refused) {
  absl::MutexLock lock(&mutex_);
  Peer& out = peer(to);
  out.broken = true;
  out.done = true;
  if (!refused.ok()) {
    lose(to, absl::Status(refused.code(),
                          absl::StrCat(out.name, " refused our stream: ", refused.message())));
  } else if (!out.ended && !out.end_started) {
    lose(to, absl::UnavailableError(absl::StrCat(out.name, " closed its stream")));
  }
}

void PeerQueues::incoming_opened(int from) {
  absl::MutexLock lock(&mutex_);
  peer(from).opened = true;
}

void PeerQueues::deliver(int from, absl::StatusOr<Frame> frame) {
  absl::MutexLock lock(&mutex_);
  Peer& in = peer(from);
  in.incoming_bytes += bytes_of(frame);
  in.incoming.push_back(std::move(frame));
}

bool PeerQueues::has_room(int from) const {
  absl::MutexLock lock(&mutex_);
  return peer(from).incoming_bytes < kQueueBytesMax;
}

void PeerQueues::incoming_ended(int from) {
  absl::MutexLock lock(&mutex_);
  peer(from).ended = true;
}

void PeerQueues::incoming_done(int from) {
  absl::MutexLock lock(&mutex_);
  if (!peer(from).ended) {
    lose(from, absl::UnavailableError(absl::StrCat(peer(from).name, " closed its stream")));
  }
}

void PeerQueues::stream_started() {
  absl::MutexLock lock(&mutex_);
  ++streams_;
}

void PeerQueues::stream_done() {
  absl::MutexLock lock(&mutex_);
  --streams_;
}

bool PeerQueues::wait_no_streams(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto none = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return streams_ == 0; };
  return mutex_.AwaitWithDeadline(absl::Condition(&none), deadline);
}

int PeerQueues::first(bool (*wrong)(const Peer&)) const {
  for (int r = 0; r < world_size_; ++r) {
    if (r != rank_ && wrong(peer(r))) {
      return r;
    }
  }
  return -1;
}

void PeerQueues::lose(int rank, absl::Status why) {
  peer(rank).broken = true;
  if (lost_ < 0) {
    lost_ = rank;
    failure_.Update(std::move(why));
  }
}

}  // namespace laconic::collective
