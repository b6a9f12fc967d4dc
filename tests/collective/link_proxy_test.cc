#include "tests/testing/link_proxy.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace laconic::testing {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A socket that is closed when it goes.
struct Socket {
  explicit Socket(int fd_in) : fd(fd_in) { EXPECT_GE(fd, 0); }
  ~Socket() { close(fd); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void send_all(const std::vector<uint8_t>& bytes) const {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t count = send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (count <= 0) {
        return;  // The other side sees what came.
      }
      done += static_cast<size_t>(count);
    }
  }
  // What comes until `bytes_max`, the end, or an error, which is stored.
  std::vector<uint8_t> receive(size_t bytes_max) {
    std::vector<uint8_t> bytes(bytes_max);
    size_t done = 0;
    while (done < bytes_max) {
      const ssize_t count = recv(fd, bytes.data() + done, bytes_max - done, 0);
      error = count < 0 ? errno : 0;
      if (count <= 0) {
        break;
      }
      done += static_cast<size_t>(count);
    }
    bytes.resize(done);
    return bytes;
  }
  bool readable() const {
    pollfd poll_fd{fd, POLLIN, 0};
    return poll(&poll_fd, 1, 0) > 0;
  }

  const int fd;
  int error = 0;
};

// Two ends of a connection through a link.
class Ends {
 public:
  explicit Ends(LinkFaults to_target, LinkFaults from_target = {}, uint64_t seed = 1)
      : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(listener_.fd, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_.fd, 8), 0);
    getsockname(listener_.fd, reinterpret_cast<sockaddr*>(&address), &length);
    link = std::make_unique<LinkProxy>(
        LinkOptions{.target = absl::StrCat("127.0.0.1:", ntohs(address.sin_port)),
                    .to_target = to_target,
                    .from_target = from_target,
                    .seed = seed});
    client = std::make_unique<Socket>(socket(AF_INET, SOCK_STREAM, 0));
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(link->address().substr(link->address().find(':') + 1), &port));
    address = loopback(port);
    EXPECT_EQ(connect(client->fd, reinterpret_cast<sockaddr*>(&address), length), 0);
    server = std::make_unique<Socket>(accept(listener_.fd, nullptr, nullptr));
  }

  // Sends from the client in a thread; what the server got.
  std::vector<uint8_t> carry(const std::vector<uint8_t>& bytes) {
    std::thread sender([&] { client->send_all(bytes); });
    std::vector<uint8_t> received = server->receive(bytes.size());
    sender.join();
    return received;
  }

 private:
  Socket listener_;

 public:
  std::unique_ptr<LinkProxy> link;
  std::unique_ptr<Socket> client;
  std::unique_ptr<Socket> server;
};

std::vector<uint8_t> pattern(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<uint8_t>(i * 131 + (i >> 8));
  }
  return bytes;
}

TEST(LinkProxyTest, CarriesAllBytesBothWaysAndCountsThem) {
  Ends ends({});
  const std::vector<uint8_t> bytes = pattern(3'000'017);
  EXPECT_EQ(ends.carry(bytes), bytes);
  ends.server->send_all({1, 2, 3});
  EXPECT_EQ(ends.client->receive(3), (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(ends.link->bytes_to_target(), 3'000'017);
  EXPECT_EQ(ends.link->bytes_from_target(), 3);
  EXPECT_EQ(ends.link->connections(), 1);
}

TEST(LinkProxyTest, EndOfOneDirectionLeavesTheOtherOpen) {
  Ends ends({});
  shutdown(ends.client->fd, SHUT_WR);
  EXPECT_TRUE(ends.server->receive(1).empty());
  EXPECT_EQ(ends.server->error, 0);
  ends.server->send_all({9});
  EXPECT_EQ(ends.client->receive(1), (std::vector<uint8_t>{9}));
}

TEST(LinkProxyTest, DelaysEachDirectionByWhatIsSet) {
  const absl::Duration there = absl::Milliseconds(40);
  const absl::Duration back = absl::Milliseconds(20);
  Ends ends({.delay = there, .jitter = absl::Milliseconds(5)}, {.delay = back});
  absl::Time start = absl::Now();
  EXPECT_EQ(ends.carry({1}).size(), 1U);
  EXPECT_GE(absl::Now() - start, there);
  start = absl::Now();
  ends.server->send_all({1});
  EXPECT_EQ(ends.client->receive(1).size(), 1U);
  EXPECT_GE(absl::Now() - start, back);
}

TEST(LinkProxyTest, DelayDoesNotLimitTheRate) {
  // 200 pieces of 64 KiB: one after another they would take 200 delays, 10 s.
  Ends ends({.delay = absl::Milliseconds(50)});
  const std::vector<uint8_t> bytes = pattern(200 * 65536);
  const absl::Time start = absl::Now();
  EXPECT_EQ(ends.carry(bytes), bytes);
  EXPECT_LT(absl::Now() - start, absl::Seconds(9));
}

TEST(LinkProxyTest, JitterKeepsTheOrder) {
  Ends ends({.jitter = absl::Milliseconds(3)}, {}, /*seed=*/7);
  const std::vector<uint8_t> bytes = pattern(1'000'003);
  EXPECT_EQ(ends.carry(bytes), bytes);
}

TEST(LinkProxyTest, RateIsNotExceeded) {
  Ends ends({.bytes_per_s = 1'000'000});
  const std::vector<uint8_t> bytes = pattern(200'000);
  const absl::Time start = absl::Now();
  EXPECT_EQ(ends.carry(bytes), bytes);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(200));
}

TEST(LinkProxyTest, FlipChangesExactlyThatByte) {
  Ends ends({.flip_at_byte = 123'456});
  std::vector<uint8_t> bytes = pattern(300'000);
  const std::vector<uint8_t> received = ends.carry(bytes);
  EXPECT_NE(received.at(123'456), bytes[123'456]);
  bytes[123'456] = received[123'456];
  EXPECT_EQ(received, bytes);
}

TEST(LinkProxyTest, StallEndsWhenItsTimeIsUp) {
  const absl::Duration stall = absl::Milliseconds(50);
  Ends ends({.stall_at_byte = 10, .stall = stall});
  const std::vector<uint8_t> bytes = pattern(1000);
  const absl::Time start = absl::Now();
  EXPECT_EQ(ends.carry(bytes), bytes);
  EXPECT_GE(absl::Now() - start, stall);
}

TEST(LinkProxyTest, StallWithoutAnEndLastsUntilItIsReleased) {
  Ends ends({.stall_at_byte = 10});
  ends.client->send_all(pattern(11));
  EXPECT_EQ(ends.server->receive(10).size(), 10U);
  // Bytes the other way still pass; by the time they come the eleventh could have come too.
  ends.server->send_all({1});
  EXPECT_EQ(ends.client->receive(1).size(), 1U);
  EXPECT_FALSE(ends.server->readable());
  EXPECT_EQ(ends.link->bytes_to_target(), 10);
  ends.link->release();
  EXPECT_EQ(ends.server->receive(1).size(), 1U);
}

TEST(LinkProxyTest, ResetReachesBothEndsAfterTheBytesBeforeIt) {
  Ends ends({.reset_at_byte = 70'000});
  EXPECT_LE(ends.carry(pattern(100'000)).size(), 70'000U);
  EXPECT_EQ(ends.server->error, ECONNRESET);
  ends.client->receive(1);
  EXPECT_EQ(ends.client->error, ECONNRESET);
  EXPECT_EQ(ends.link->bytes_to_target(), 70'000);
}

TEST(LinkProxyTest, TargetThatRefusesMeansAReset) {
  // Port 1 is never given out as a free port.
  LinkOptions options;
  options.target = "127.0.0.1:1";
  const LinkProxy link(options);
  Socket client(socket(AF_INET, SOCK_STREAM, 0));
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(link.address().substr(link.address().find(':') + 1), &port));
  const sockaddr_in address = loopback(port);
  ASSERT_EQ(connect(client.fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_TRUE(client.receive(1).empty());
  EXPECT_EQ(client.error, ECONNRESET);
}

}  // namespace
}  // namespace laconic::testing
