#include "common/collective/peer_queues.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

constexpr int64_t kFrameBytesMax = kFrameHeaderBytes + kFramePayloadBytesMax;
static_assert(kQueueBytesMax >= int64_t{2} * kLanesMax * kFrameBytesMax);

int64_t bytes_of(const absl::StatusOr<Frame>& frame) {
  return frame.ok() ? frame->bytes() : kFrameHeaderBytes;
}

}  // namespace

bool PeerQueues::Peer::all(bool Lane::*flag) const {
  return std::all_of(lanes.begin(), lanes.end(), [&](const Lane& lane) { return lane.*flag; });
}

bool PeerQueues::Peer::any(bool Lane::*flag) const {
  return std::any_of(lanes.begin(), lanes.end(), [&](const Lane& lane) { return lane.*flag; });
}

int PeerQueues::Peer::choose_lane() const {
  size_t best = 0;
  for (size_t i = 0; i < lanes.size(); ++i) {
    // All lanes may reach this age together; they are then served one after another, so it is
    // well below the limit.
    if (sent - lanes[i].last_sent >= kLaneGapMax - kLanesMax) {
      return static_cast<int>(i);
    }
    if (lanes[i].outgoing_bytes < lanes[best].outgoing_bytes) {
      best = i;
    }
  }
  return static_cast<int>(best);
}

int PeerQueues::Peer::ready_lane() const {
  int no_frame = -1;
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (lanes[i].incoming.empty()) {
      continue;
    }
    const Arrived& first = lanes[i].incoming.front();
    if (first.number == taken + 1) {
      return static_cast<int>(i);
    }
    no_frame = first.frame.ok() ? no_frame : static_cast<int>(i);
  }
  return no_frame;
}

bool PeerQueues::Peer::lacks_next() const {
  bool waiting = false;
  for (const Lane& lane : lanes) {
    if (lane.incoming.empty() && !lane.ended) {
      return false;
    }
    waiting = waiting || !lane.incoming.empty();
  }
  return waiting && ready_lane() < 0;
}

PeerQueues::PeerQueues(int rank, int world_size, int lanes)
    : rank_(rank), world_size_(world_size), lanes_(lanes), peers_(static_cast<size_t>(world_size)) {
  for (int r = 0; r < world_size; ++r) {
    peer(r).name = absl::StrCat("rank ", r);
    peer(r).lanes.resize(static_cast<size_t>(lanes));
  }
}

void PeerQueues::set_addresses(const std::vector<std::string>& addresses) {
  absl::MutexLock lock(&mutex_);
  for (int r = 0; r < world_size_; ++r) {
    peer(r).name = absl::StrCat("rank ", r, " at ", addresses[static_cast<size_t>(r)]);
  }
}

absl::StatusOr<int> PeerQueues::send(int to, Frame frame, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  Peer& out = peer(to);
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || out.any(&Lane::broken) ||
           out.outgoing_bytes + frame.bytes() <= kQueueBytesMax;
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  LACONIC_RETURN_IF_ERROR(failure_);
  if (out.any(&Lane::broken) || out.end_queued) {
    return absl::UnavailableError(absl::StrCat(out.name, " closed its stream"));
  }
  if (!in_time) {
    return absl::DeadlineExceededError(
        absl::StrCat(out.name, " took no frame within the deadline"));
  }
  out.counts.sent += frame.bytes();
  out.counts.payload_sent += static_cast<int64_t>(frame.payload.size);
  out.outgoing_bytes += frame.bytes();
  const int chosen = out.choose_lane();
  Lane& carrier = lane({to, chosen});
  carrier.last_sent = ++out.sent;
  carrier.outgoing_bytes += frame.bytes();
  frame.header.lane_sequence = static_cast<uint16_t>(out.sent);
  carrier.outgoing.push_back(std::move(frame));
  return chosen;
}

absl::StatusOr<Frame> PeerQueues::receive(int from, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  Peer& in = peer(from);
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return in.ready_lane() >= 0 || in.all(&Lane::ended) || in.lacks_next() || !failure_.ok();
  };
  const bool in_time = mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  if (aborted_) {
    return failure_;
  }
  const int from_lane = in.ready_lane();
  if (from_lane < 0) {
    if (in.lacks_next()) {
      return absl::DataLossError(
          absl::StrCat("from ", in.name, ": frame ", in.taken + 1, " of its way is missing"));
    }
    LACONIC_RETURN_IF_ERROR(failure_);
    return in_time ? absl::UnavailableError(absl::StrCat(in.name, " closed its stream"))
                   : absl::DeadlineExceededError(
                         absl::StrCat("no frame from ", in.name, " within the deadline"));
  }
  std::deque<Arrived>& incoming = lane({from, from_lane}).incoming;
  absl::StatusOr<Frame> frame = std::move(incoming.front().frame);
  incoming.pop_front();
  in.incoming_bytes -= bytes_of(frame);
  if (!frame.ok()) {
    return absl::Status(frame.status().code(),
                        absl::StrCat("from ", in.name, ": ", frame.status().message()));
  }
  ++in.taken;
  frame->header.lane_sequence = 0;
  in.counts.received += frame->bytes();
  in.counts.payload_received += static_cast<int64_t>(frame->payload.size);
  return frame;
}

absl::Status PeerQueues::wait_connected(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto unaccepted = [](const Peer& p) { return !p.all(&Lane::accepted); };
  const auto unopened = [](const Peer& p) { return !p.all(&Lane::opened); };
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
  const auto unended = [](const Peer& p) { return !p.all(&Lane::ended) || !p.all(&Lane::done); };
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
  ByteCounts all;
  for (const Peer& p : peers_) {
    all += p.counts;
  }
  return all;
}

ByteCounts PeerQueues::peer_bytes(int peer_rank) const {
  absl::MutexLock lock(&mutex_);
  return peer(peer_rank).counts;
}

NextWrite PeerQueues::next_write(PeerLane to) {
  absl::MutexLock lock(&mutex_);
  Lane& out = lane(to);
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
  if (peer(to.rank).end_queued) {
    out.writing = true;
    out.end_started = true;
    return {WriteStep::kEnd, {}};
  }
  return {};
}

void PeerQueues::write_done(PeerLane to, bool ok) {
  absl::MutexLock lock(&mutex_);
  Lane& out = lane(to);
  out.writing = false;
  out.broken = out.broken || !ok;
  if (!out.end_started && !out.outgoing.empty()) {
    const int64_t bytes = out.outgoing.front().bytes();
    out.outgoing_bytes -= bytes;
    peer(to.rank).outgoing_bytes -= bytes;
    out.outgoing.pop_front();
  }
}

void PeerQueues::outgoing_accepted(PeerLane to) {
  absl::MutexLock lock(&mutex_);
  lane(to).accepted = true;
}

void PeerQueues::outgoing_broken(PeerLane to) {
  absl::MutexLock lock(&mutex_);
  lane(to).broken = true;
}

void PeerQueues::outgoing_done(PeerLane to, const absl::Status& refused) {
  absl::MutexLock lock(&mutex_);
  const Peer& out = peer(to.rank);
  Lane& ended = lane(to);
  ended.broken = true;
  ended.done = true;
  if (!refused.ok()) {
    lose(to.rank, absl::Status(refused.code(),
                               absl::StrCat(out.name, " refused our stream: ", refused.message())));
  } else if (!out.all(&Lane::ended) && !ended.end_started) {
    lose(to.rank, absl::UnavailableError(absl::StrCat(out.name, " closed its stream")));
  }
}

void PeerQueues::incoming_opened(PeerLane from) {
  absl::MutexLock lock(&mutex_);
  lane(from).opened = true;
}

void PeerQueues::deliver(PeerLane from, absl::StatusOr<Frame> frame) {
  absl::MutexLock lock(&mutex_);
  Lane& in = lane(from);
  uint64_t number = 0;
  if (frame.ok()) {
    const uint16_t gap = static_cast<uint16_t>(frame->header.lane_sequence - in.last_received);
    if (gap == 0 || gap > kLaneGapMax) {
      frame = absl::DataLossError(absl::StrCat("frame: number ", frame->header.lane_sequence,
                                               " on lane ", from.lane, " after ",
                                               static_cast<uint16_t>(in.last_received)));
    } else {
      number = in.last_received += gap;
    }
  }
  peer(from.rank).incoming_bytes += bytes_of(frame);
  in.incoming.push_back({number, std::move(frame)});
}

bool PeerQueues::has_room(PeerLane from) const {
  absl::MutexLock lock(&mutex_);
  const Peer& in = peer(from.rank);
  return in.lanes[static_cast<size_t>(from.lane)].incoming.empty() ||
         in.incoming_bytes + lanes_ * kFrameBytesMax <= kQueueBytesMax;
}

void PeerQueues::incoming_ended(PeerLane from) {
  absl::MutexLock lock(&mutex_);
  lane(from).ended = true;
}

void PeerQueues::incoming_done(PeerLane from) {
  absl::MutexLock lock(&mutex_);
  if (!lane(from).ended) {
    const Peer& gone = peer(from.rank);
    lose(from.rank, absl::UnavailableError(absl::StrCat(gone.name, " closed its stream")));
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
  for (Lane& lane : peer(rank).lanes) {
    lane.broken = true;
  }
  if (lost_ < 0) {
    lost_ = rank;
    failure_.Update(std::move(why));
  }
}

}  // namespace laconic::collective
