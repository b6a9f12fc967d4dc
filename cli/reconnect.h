// What becomes of a stream that has ended before its job did: the server may come back.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace laconic::cli {

// Pure: the caller brings the time. Not thread-safe.
class Reconnect {
 public:
  // How long the server is left alone before a stream is opened again.
  static constexpr absl::Duration kPause = absl::Milliseconds(500);

  enum class Step {
    kGiveUp,    // The status is the end.
    kAnnounce,  // Tell the user, once each time the server goes away; then wait.
    kWait,
    kOpen,  // Open the stream again.
  };

  // `patience`: the longest that a server is waited for, counted from the end of a stream.
  explicit Reconnect(absl::Duration patience) : patience_(patience) {}

  // With every message: the server is there.
  void heard();

  // The stream has ended with `status`, and is over still. A server that was never heard is a wrong
  // address: no use in waiting for it. Any status but Unavailable is an answer.
  Step ended(const absl::Status& status, absl::Time now);

 private:
  const absl::Duration patience_;
  bool ever_heard_ = false;
  std::optional<absl::Time> away_since_;
  absl::Time open_at_;
};

}  // namespace laconic::cli
