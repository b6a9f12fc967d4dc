// What one rank has to send to and has received from every other rank, and how these peers fare:
// the state behind GrpcTransport. No gRPC in here; the streams ask it what to do next.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/transport.h"

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

// Thread-safe. Ranks are those of peers: 0..P-1 without our own.
class PeerQueues {
 public:
  PeerQueues(int rank, int world_size);

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  // [P] "host:port" in rank order, for messages.
  void set_addresses(const std::vector<std::string>& addresses);

  // For the owner of the transport; errors are those of Transport.
  absl::Status send(int to, Frame frame, absl::Time deadline);
  absl::StatusOr<Frame> receive(int from, absl::Time deadline);
  absl::Status wait_connected(absl::Time deadline);
  // Says that nothing follows the frames queued so far.
  void end_all();
  absl::Status wait_ended(absl::Time deadline);
  void abort(const absl::Status& reason);
  int lost_rank() const;
  ByteCounts bytes() const;

  // For the stream to a peer. A step other than kNothing and kRelease starts a write, which
  // write_done() ends.
  NextWrite next_write(int to);
  void write_done(int to, bool ok);
  void outgoing_accepted(int to);
  // The stream takes no more frames.
  void outgoing_broken(int to);
  // The stream is over; refused: the peer's answer to opening it, where it was one.
  void outgoing_done(int to, const absl::Status& refused);

  // For the stream from a peer.
  void incoming_opened(int from);
  void deliver(int from, absl::StatusOr<Frame> frame);
  bool has_room(int from) const;
  // The peer said that nothing follows.
  void incoming_ended(int from);
  // The stream is over. Without incoming_ended() before it, the peer is lost.
  void incoming_done(int from);

  // How many streams live, so that the transport outlives them.
  void stream_started();
  void stream_done();
  // False if some still live at the deadline.
  bool wait_no_streams(absl::Time deadline);

 private:
  struct Peer {
    std::string name;  // "rank 2 at 10.0.0.3:4001"
    std::deque<Frame> outgoing;
    int64_t outgoing_bytes = 0;
    bool accepted = false;
    bool writing = false;
    bool end_queued = false;
    bool end_started = false;
    bool broken = false;
    bool released = false;
    bool done = false;
    std::deque<absl::StatusOr<Frame>> incoming;
    int64_t incoming_bytes = 0;
    bool opened = false;
    bool ended = false;
  };

  Peer& peer(int rank) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return peers_[static_cast<size_t>(rank)];
  }
  const Peer& peer(int rank) const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return peers_[static_cast<size_t>(rank)];
  }
  // The first peer, in rank order, for which `wrong` holds; -1 when for none.
  int first(bool (*wrong)(const Peer&)) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void lose(int rank, absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int rank_;
  const int world_size_;
  mutable absl::Mutex mutex_;
  std::vector<Peer> peers_ ABSL_GUARDED_BY(mutex_);  // [P]
  ByteCounts counts_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // abort(), or the first lost peer
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  int lost_ ABSL_GUARDED_BY(mutex_) = -1;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace laconic::collective
