// What one rank has to send to and has received from every other rank, and how these peers fare:
// the state behind GrpcTransport. No gRPC in here; the streams ask it what to do next.
#pragma once

#include <compare>
#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/transport.h"
#include "common/core/exchange_spec.h"

namespace laconic::collective {

// What a stream to a peer does next.
enum class WriteStep : uint8_t {
  kNothing,  // wait until something is queued, or until the write under way is done
  kFrame,    // write the frame
  kEnd,      // write the message that says that nothing follows; the last write
  kRelease,  // no write will be started any more; told once
};
struct NextWrite {
  WriteStep step = WriteStep::kNothing;
  Frame frame;
};

// One of the streams to or from a peer.
struct PeerLane {
  int rank = 0;  // 0..P-1 without our own
  int lane = 0;  // 0..L-1

  auto operator<=>(const PeerLane&) const = default;
};

using core::kLanesMax;
// Frames of a way are numbered and travel on any lane. No lane stays without one for longer than
// this, so that 16 bits of the number tell it.
inline constexpr uint64_t kLaneGapMax = 1 << 14;

// Thread-safe. Frames of a peer are spread over its lanes at send() and put in order again at
// receive(). All members but rank() take ranks of peers: 0..P-1 without our own.
class PeerQueues {
 public:
  // 1 <= lanes <= kLanesMax, equal on all ranks.
  PeerQueues(int rank, int world_size, int lanes);

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  int lanes() const { return lanes_; }
  // [P] "host:port" in rank order, for messages.
  void set_addresses(const std::vector<std::string>& addresses);

  // For the owner of the transport; errors are those of Transport.
  // Returns the lane that carries the frame; it may now have something to write.
  absl::StatusOr<int> send(int to, Frame frame, absl::Time deadline);
  absl::StatusOr<Frame> receive(int from, absl::Time deadline);
  absl::Status wait_connected(absl::Time deadline);
  // Says that nothing follows the frames queued so far.
  void end_all();
  absl::Status wait_ended(absl::Time deadline);
  void abort(const absl::Status& reason);
  int lost_rank() const;
  ByteCounts bytes() const;
  ByteCounts peer_bytes(int peer) const;

  // For a stream to a peer. A step other than kNothing and kRelease starts a write, which
  // write_done() ends.
  NextWrite next_write(PeerLane to);
  void write_done(PeerLane to, bool ok);
  void outgoing_accepted(PeerLane to);
  // The stream takes no more frames.
  void outgoing_broken(PeerLane to);
  // The stream is over; refused: the peer's answer to opening it, where it was one.
  void outgoing_done(PeerLane to, const absl::Status& refused);

  // For a stream from a peer.
  void incoming_opened(PeerLane from);
  void deliver(PeerLane from, absl::StatusOr<Frame> frame);
  // True if the stream may read one more message. A lane of which nothing waits always may: it may
  // bring the frame that the others wait for. At most kQueueBytesMax wait over all lanes.
  bool has_room(PeerLane from) const;
  // The peer said that nothing follows on this lane.
  void incoming_ended(PeerLane from);
  // The stream is over. Without incoming_ended() before it, the peer is lost.
  void incoming_done(PeerLane from);

  // How many streams live, so that the transport outlives them.
  void stream_started();
  void stream_done();
  // False if some still live at the deadline.
  bool wait_no_streams(absl::Time deadline);

 private:
  // A frame and its number on the way from its sender, from 1; 0 for what is no frame.
  struct Arrived {
    uint64_t number = 0;
    absl::StatusOr<Frame> frame;
  };
  struct Lane {
    std::deque<Frame> outgoing;
    int64_t outgoing_bytes = 0;
    uint64_t last_sent = 0;
    bool accepted = false;
    bool writing = false;
    bool end_started = false;
    bool broken = false;
    bool released = false;
    bool done = false;
    std::deque<Arrived> incoming;
    uint64_t last_received = 0;
    bool opened = false;
    bool ended = false;
  };
  struct Peer {
    std::string name;         // "rank 2 at 10.0.0.3:4001"
    std::vector<Lane> lanes;  // [L]
    bool end_queued = false;
    uint64_t sent = 0;  // frames, as numbers of the last one
    uint64_t taken = 0;
    int64_t outgoing_bytes = 0;  // over all lanes
    int64_t incoming_bytes = 0;
    ByteCounts counts;

    bool all(bool Lane::*flag) const;
    bool any(bool Lane::*flag) const;
    // The lane for the next frame: the one with the fewest bytes waiting, unless another was
    // passed over for long.
    int choose_lane() const;
    // The lane whose first message is to be taken now; -1 when it has not come yet.
    int ready_lane() const;
    // True if the next frame cannot come any more.
    bool lacks_next() const;
  };

  Peer& peer(int rank) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return peers_[static_cast<size_t>(rank)];
  }
  const Peer& peer(int rank) const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return peers_[static_cast<size_t>(rank)];
  }
  Lane& lane(PeerLane of) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return peer(of.rank).lanes[static_cast<size_t>(of.lane)];
  }
  // The first peer, in rank order, for which `wrong` holds; -1 when for none.
  int first(bool (*wrong)(const Peer&)) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void lose(int rank, absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int rank_;
  const int world_size_;
  const int lanes_;
  mutable absl::Mutex mutex_;
  std::vector<Peer> peers_ ABSL_GUARDED_BY(mutex_);  // [P]
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);     // abort(), or the first lost peer
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  int lost_ ABSL_GUARDED_BY(mutex_) = -1;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace laconic::collective
