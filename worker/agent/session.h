// The worker's line to the server: one stream, opened by the worker, opened again whenever it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/core/backoff.h"
#include "laconic/v1/control.grpc.pb.h"
#include "worker/agent/inbox.h"

namespace laconic::agent {

inline constexpr absl::Duration kHeartbeatInterval = absl::Seconds(1);
// A server that takes no message, or does not answer a registration, for so long is given up.
inline constexpr absl::Duration kSilenceMax = absl::Seconds(10);
inline constexpr size_t kSendQueueMax = 64;  // messages
inline constexpr size_t kLogQueueMax = 4;    // no log is queued behind so many: heartbeats go first

// Keeps a registered session with the server for as long as it lives. Every new stream begins with
// a Register made for it, so nothing has to be kept for a server that is away. Owned by the thread
// that runs `inbox`; gRPC's threads reach it only through there.
class Session {
 public:
  struct Calls {
    std::function<v1::Register()> make_register;
    std::function<void(const v1::SessionResponse&)> on_message;  // Welcome is the first of each
  };

  // `seed` spreads the attempts of many workers.
  Session(Inbox& inbox, std::string server, uint64_t seed, Calls calls);
  ~Session();  // Cancels; waits until gRPC has let go.
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Opens the stream, beats, gives up on a silent server: whatever is due. Never waits.
  void tick(absl::Time now);

  // True from Welcome to the end of the stream.
  bool registered() const { return registered_; }
  // Messages queued; send() takes none at kSendQueueMax.
  size_t queued() const;
  // False when not registered or full; the message is dropped then.
  bool send(v1::SessionRequest request);

  // Says goodbye: sends what is queued, ends the stream and opens no other.
  void finish();
  bool finished() const { return finishing_ && stream_ == nullptr; }

 private:
  class Stream;

  void open(absl::Time now);
  void handle(const std::shared_ptr<Stream>& from, const v1::SessionResponse& response);
  void handle_end(const std::shared_ptr<Stream>& from, const absl::Status& status);
  void log_end(const absl::Status& status);

  Inbox& inbox_;
  const std::string server_;
  const Calls calls_;
  core::Backoff backoff_;
  std::shared_ptr<Stream> stream_;
  bool registered_ = false;
  bool finishing_ = false;
  absl::Time open_at_ = absl::InfinitePast();
  absl::Time opened_at_, beat_at_;
  std::string last_trouble_ = "none yet";  // what was logged last; empty: all is well
};

}  // namespace laconic::agent
