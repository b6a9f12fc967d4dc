// A link between two real endpoints whose faults a test commands: it passes TCP connections on and
// delays, slows, stalls, resets or corrupts what goes through.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/time.h"

namespace laconic::testing {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// What happens to the bytes of one direction. Byte numbers count from 0 over all connections of the
// link in this direction, in the order in which they leave it; each fault happens once.
struct LinkFaults {
  // Time that a byte is under way; any number of bytes can be under way at once.
  absl::Duration delay = absl::ZeroDuration();
  // Up to this much is added to the delay of each piece, drawn from the seed; order is kept.
  absl::Duration jitter = absl::ZeroDuration();
  // What the link carries, shared by its connections; 0: as much as the machine can.
  int64_t bytes_per_s = 0;
  // From this byte on nothing passes, for `stall` or until release().
  int64_t stall_at_byte = kNever;
  absl::Duration stall = absl::InfiniteDuration();
  // Its connection ends with a reset, at both ends, instead of carrying this byte.
  int64_t reset_at_byte = kNever;
  // This byte is changed.
  int64_t flip_at_byte = kNever;
};

struct LinkOptions {
  std::string target;  // "127.0.0.1:PORT"
  LinkFaults to_target;
  LinkFaults from_target;
  uint64_t seed = 1;
};

// Listens from construction on a free port of loopback. Thread-safe. One thread of its own moves
// all bytes, woken by sockets and a timerfd; it ends, and all connections with it, in the
// destructor. For worlds in one process; a link of real packets is tc's business.
class LinkProxy {
 public:
  explicit LinkProxy(const LinkOptions& options);
  ~LinkProxy();
  LinkProxy(const LinkProxy&) = delete;
  LinkProxy& operator=(const LinkProxy&) = delete;

  // What to connect to instead of the target.
  const std::string& address() const { return address_; }
  // Bytes that left the link towards the target, and back.
  int64_t bytes_to_target() const;
  int64_t bytes_from_target() const;
  int64_t connections() const;
  // Ends a stall, in both directions.
  void release();

 private:
  class Loop;

  const std::unique_ptr<Loop> loop_;
  std::string address_;
  std::thread thread_;
};

}  // namespace laconic::testing
