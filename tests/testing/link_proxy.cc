#include "tests/testing/link_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <list>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/random.h"

namespace laconic::testing {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
constexpr size_t kSlowPieceBytes = 4 << 10;  // so that a slow link drips instead of pouring
// Bytes that may be under way on one connection beyond what its delay holds.
constexpr int64_t kQueueBytes = 256 << 10;
constexpr int64_t kUnlimitedQueueBytes = int64_t{64} << 20;

void require(bool good, const char* what) {
  if (!good) {
    perror(what);
    abort();
  }
}

// Closed when it goes.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) { require(fd >= 0, "link proxy: no file descriptor"); }
  ~Fd() { close(fd_); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

void set_nonblocking(int fd) {
  require(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0, "link proxy: fcntl");
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Bytes on their way, and when they arrive.
struct Piece {
  absl::Time due;
  std::vector<uint8_t> bytes;
  size_t done = 0;
};

// What all connections of one direction share.
struct Direction {
  LinkFaults faults;
  core::Random random;
  absl::Time free_at = absl::InfinitePast();  // when the link has carried all it was given
  absl::Time stalled_until = absl::InfinitePast();
  int64_t entered = 0;
  std::atomic<int64_t> left = 0;

  // When `bytes` that enter now come out. Never earlier than what entered before.
  absl::Time enter(int64_t bytes, absl::Time now, absl::Time previous_due) {
    entered += bytes;
    absl::Time out = now;
    if (faults.bytes_per_s > 0) {
      free_at = std::max(free_at, now) +
                absl::Seconds(static_cast<double>(bytes) / static_cast<double>(faults.bytes_per_s));
      out = free_at;
    }
    return std::max(previous_due, out + faults.delay + faults.jitter * random.uniform());
  }

  int64_t queue_bytes_max() const {
    if (faults.bytes_per_s == 0) {
      return kUnlimitedQueueBytes;
    }
    const double held = absl::ToDoubleSeconds(faults.delay + faults.jitter) *
                        static_cast<double>(faults.bytes_per_s);
    return kQueueBytes + static_cast<int64_t>(held);
  }
};

// One direction of one connection.
struct Way {
  Direction* direction = nullptr;
  int from = -1;
  int to = -1;
  std::deque<Piece> pieces = {};
  int64_t queued = 0;
  absl::Time last_due = absl::InfinitePast();
  bool read_end = false;
  bool write_end = false;
  bool blocked = false;  // the receiver's socket is full

  bool reads() const { return !read_end && queued < direction->queue_bytes_max(); }
};

struct Connection {
  Connection(int client_fd, int target_fd) : client(client_fd), target(target_fd) {}
  Fd client;
  Fd target;
  std::array<Way, 2> ways;
  bool dead = false;

  bool ended() const { return dead || (ways[0].write_end && ways[1].write_end); }
  // Both ends see a reset when the sockets are closed.
  void reset() {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    setsockopt(target.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    dead = true;
  }
};

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

}  // namespace

class LinkProxy::Loop {
 public:
  explicit Loop(const LinkOptions& options)
      : to_target_{.faults = options.to_target, .random = core::Random(options.seed, 0)},
        from_target_{.faults = options.from_target, .random = core::Random(options.seed, 1)},
        listener_(socket(AF_INET, SOCK_STREAM, 0)),
        timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)),
        wake_(eventfd(0, EFD_NONBLOCK)) {
    const size_t colon = options.target.rfind(':');
    require(colon != std::string::npos &&
                absl::SimpleAtoi(options.target.substr(colon + 1), &target_port_),
            "link proxy: the target is no HOST:PORT");
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    require(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0,
            "link proxy: bind");
    require(listen(listener_.get(), SOMAXCONN) == 0, "link proxy: listen");
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    set_nonblocking(listener_.get());
    port_ = ntohs(address.sin_port);
  }

  int port() const { return port_; }
  int64_t to_target() const { return to_target_.left; }
  int64_t from_target() const { return from_target_.left; }
  int64_t connections() const { return accepted_; }

  void stop() {
    stopping_ = true;
    wake();
  }
  void release() {
    releasing_ = true;
    wake();
  }

  void run() {
    while (!stopping_) {
      wait();
      if (releasing_.exchange(false)) {
        to_target_.stalled_until = from_target_.stalled_until = absl::InfinitePast();
      }
      accept_all();
      for (Connection& connection : connections_) {
        move(connection);
      }
      connections_.remove_if([](const Connection& connection) { return connection.ended(); });
    }
    for (Connection& connection : connections_) {
      connection.reset();
    }
    connections_.clear();
  }

 private:
  void wake() {
    const uint64_t one = 1;
    require(write(wake_.get(), &one, sizeof(one)) == sizeof(one), "link proxy: eventfd");
  }

  // Until a socket can do something, something is due, or somebody wakes us.
  void wait() {
    std::vector<pollfd> fds = {
        {listener_.get(), POLLIN, 0}, {timer_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    absl::Time next = absl::InfiniteFuture();
    for (const Connection& connection : connections_) {
      for (const Way& way : connection.ways) {
        if (way.reads()) {
          fds.push_back({way.from, POLLIN, 0});
        }
        if (way.blocked) {
          fds.push_back({way.to, POLLOUT, 0});
        } else if (!way.pieces.empty()) {
          next = std::min(next, std::max(way.pieces.front().due, way.direction->stalled_until));
        }
      }
    }
    set_timer(next);
    poll(fds.data(), fds.size(), -1);
    uint64_t count = 0;
    for (const int fd : {timer_.get(), wake_.get()}) {
      require(read(fd, &count, sizeof(count)) > 0 || would_block(), "link proxy: read");
    }
  }

  void set_timer(absl::Time next) {
    itimerspec spec{};
    if (next < absl::InfiniteFuture()) {
      // At least a nanosecond: zero would disarm it.
      spec.it_value = absl::ToTimespec(std::max(next - absl::Now(), absl::Nanoseconds(1)));
    }
    require(timerfd_settime(timer_.get(), 0, &spec, nullptr) == 0, "link proxy: timerfd");
  }

  void accept_all() {
    for (;;) {
      const int client = accept(listener_.get(), nullptr, nullptr);
      if (client < 0) {
        return;
      }
      ++accepted_;
      const int target = socket(AF_INET, SOCK_STREAM, 0);
      Connection& connection = connections_.emplace_back(client, target);
      const sockaddr_in address = loopback(target_port_);
      if (connect(target, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        connection.reset();
        continue;
      }
      set_nonblocking(client);
      set_nonblocking(target);
      connection.ways[0] = {.direction = &to_target_, .from = client, .to = target};
      connection.ways[1] = {.direction = &from_target_, .from = target, .to = client};
    }
  }

  static void move(Connection& connection) {
    for (Way& way : connection.ways) {
      if (!connection.dead) {
        read_all(connection, way);
      }
      if (!connection.dead) {
        write_due(connection, way);
      }
    }
  }

  static void read_all(Connection& connection, Way& way) {
    const bool slow = way.direction->faults.bytes_per_s > 0;
    while (way.reads()) {
      std::vector<uint8_t> bytes(slow ? kSlowPieceBytes : kPieceBytes);
      const ssize_t count = read(way.from, bytes.data(), bytes.size());
      if (count < 0) {
        if (!would_block()) {
          connection.reset();
        }
        return;
      }
      if (count == 0) {
        way.read_end = true;
        return;
      }
      bytes.resize(static_cast<size_t>(count));
      way.queued += count;
      way.last_due = way.direction->enter(count, absl::Now(), way.last_due);
      way.pieces.push_back({way.last_due, std::move(bytes)});
    }
  }

  static void write_due(Connection& connection, Way& way) {
    Direction& direction = *way.direction;
    way.blocked = false;
    while (!way.pieces.empty()) {
      const absl::Time now = absl::Now();
      if (way.pieces.front().due > now || direction.stalled_until > now) {
        return;
      }
      if (direction.left == direction.faults.stall_at_byte) {
        direction.faults.stall_at_byte = kNever;
        direction.stalled_until = now + direction.faults.stall;
        return;
      }
      if (direction.left == direction.faults.reset_at_byte) {
        direction.faults.reset_at_byte = kNever;
        connection.reset();
        return;
      }
      if (!write_some(connection, way)) {
        return;
      }
    }
    if (way.read_end && !way.write_end) {
      shutdown(way.to, SHUT_WR);
      way.write_end = true;
    }
  }

  // Writes from the first piece up to the next fault. False if the socket takes no more for now.
  static bool write_some(Connection& connection, Way& way) {
    Direction& direction = *way.direction;
    LinkFaults& faults = direction.faults;
    Piece& piece = way.pieces.front();
    const int64_t left = direction.left;
    const int64_t until = std::min(faults.stall_at_byte, faults.reset_at_byte);
    const int64_t bytes =
        std::min(static_cast<int64_t>(piece.bytes.size() - piece.done), until - left);
    if (faults.flip_at_byte >= left && faults.flip_at_byte - left < bytes) {
      piece.bytes[piece.done + static_cast<size_t>(faults.flip_at_byte - left)] ^= 0x10;
      faults.flip_at_byte = kNever;
    }
    // Counted first, so that who has received a byte finds it counted.
    direction.left += bytes;
    const ssize_t count =
        send(way.to, piece.bytes.data() + piece.done, static_cast<size_t>(bytes), MSG_NOSIGNAL);
    direction.left -= bytes - std::max<int64_t>(count, 0);
    if (count < 0) {
      way.blocked = would_block();
      if (!way.blocked) {
        connection.reset();
      }
      return false;
    }
    way.queued -= count;
    piece.done += static_cast<size_t>(count);
    if (piece.done == piece.bytes.size()) {
      way.pieces.pop_front();
    }
    return true;
  }

  // Owned by the thread that runs run(), but for the counters and flags, which are atomic.
  Direction to_target_;
  Direction from_target_;
  const Fd listener_;
  const Fd timer_;
  const Fd wake_;
  int target_port_ = 0;
  int port_ = 0;
  std::list<Connection> connections_;
  std::atomic<int64_t> accepted_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> releasing_ = false;
};

LinkProxy::LinkProxy(const LinkOptions& options)
    : loop_(std::make_unique<Loop>(options)),
      address_(absl::StrCat("127.0.0.1:", loop_->port())),
      thread_([this] { loop_->run(); }) {}

LinkProxy::~LinkProxy() {
  loop_->stop();
  thread_.join();
}

int64_t LinkProxy::bytes_to_target() const {
  return loop_->to_target();
}
int64_t LinkProxy::bytes_from_target() const {
  return loop_->from_target();
}
int64_t LinkProxy::connections() const {
  return loop_->connections();
}
void LinkProxy::release() {
  loop_->release();
}

}  // namespace laconic::testing
