// How fast 1 MiB frames go from one process to another over gRPC on loopback, and what they cost
// in CPU time, beside one raw TCP connection in the same run.
//
//   transport_bench [--mib N] [--repetitions N] [--json FILE]
//
// The two ends are processes of their own, so that CPU time is that of both ends and of nothing
// else. Measurements take turns, so that a noisy machine disturbs all of them alike.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/report.h"
#include "common/collective/grpc_transport.h"
#include "common/core/crc32c.h"

namespace laconic::bench {
namespace {

using collective::Frame;
using collective::GrpcTransport;
using collective::kFramePayloadBytesMax;
using collective::Payload;

constexpr absl::Duration kDeadline = absl::Seconds(60);
constexpr int kCheckedFrames = 16;  // before the clock starts, each with its checksum verified
constexpr size_t kTile = static_cast<size_t>(kFramePayloadBytesMax);

// A measurement that went wrong is no measurement.
[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "transport_bench: %s\n", why.c_str());
  std::_Exit(1);
}

void require(bool good, const std::string& what) {
  if (!good) {
    give_up(what);
  }
}

void require(const absl::Status& status) {
  require(status.ok(), status.ToString());
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void write_all(int fd, const void* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = write(fd, static_cast<const char*>(data) + done, bytes - done);
    require(n > 0, "write failed");
    done += static_cast<size_t>(n);
  }
}

void read_all(int fd, void* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = read(fd, static_cast<char*>(data) + done, bytes - done);
    require(n > 0, "read failed");
    done += static_cast<size_t>(n);
  }
}

// What one end measured.
struct Cost {
  double wall_s = 0;
  double cpu_s = 0;
};

// Runs from construction; end() is called once.
class Meter {
 public:
  Cost end() const {
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start_;
    return {wall.count(), cpu_seconds() - cpu_};
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const double cpu_ = cpu_seconds();
};

// One end of a connection: rank 0 sends `frames` of 1 MiB, rank 1 takes them and answers once.
// `peer_fd` is a socket to the other end, for addresses.
using Side = std::function<Cost(int rank, int peer_fd, int64_t frames)>;

int connect_raw(int rank, int peer_fd) {
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  require(fd >= 0, "no socket");
  if (rank == 0) {
    read_all(peer_fd, &address, sizeof(address));
    require(connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0, "connect failed");
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
  }
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  require(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0, "bind failed");
  require(listen(fd, 1) == 0, "listen failed");
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  write_all(peer_fd, &address, sizeof(address));
  const int accepted = accept(fd, nullptr, nullptr);
  require(accepted >= 0, "accept failed");
  close(fd);
  return accepted;
}

Cost raw_tcp(size_t call_bytes, int rank, int peer_fd, int64_t frames) {
  const int fd = connect_raw(rank, peer_fd);
  std::vector<uint8_t> bytes(call_bytes, 7);
  const int64_t calls = frames * kFramePayloadBytesMax / static_cast<int64_t>(call_bytes);
  char answer = 'a';
  const Meter meter;
  for (int64_t i = 0; i < calls; ++i) {
    rank == 0 ? write_all(fd, bytes.data(), bytes.size()) : read_all(fd, bytes.data(), call_bytes);
  }
  rank == 0 ? read_all(fd, &answer, 1) : write_all(fd, &answer, 1);
  const Cost cost = meter.end();
  close(fd);
  return cost;
}

std::string exchange_address(const std::string& own, int peer_fd) {
  std::array<char, 64> text{};
  std::copy(own.begin(), own.end(), text.begin());
  write_all(peer_fd, text.data(), text.size());
  read_all(peer_fd, text.data(), text.size());
  return text.data();
}

Frame make_frame(int from_rank, const Payload& payload, uint32_t crc) {
  Frame frame;
  frame.header.from_rank = static_cast<uint16_t>(from_rank);
  frame.header.to_rank = static_cast<uint16_t>(1 - from_rank);
  frame.header.payload_bytes_total = payload.size;
  frame.header.payload_bytes = static_cast<uint32_t>(payload.size);
  frame.header.payload_crc32c = crc;
  frame.payload = payload;
  return frame;
}

Cost grpc_frames(int lanes, int rank, int peer_fd, int64_t frames) {
  auto made = GrpcTransport::create(
      {.rank = rank, .world_size = 2, .job_id = "bench", .peer_token = "bench", .lanes = lanes});
  require(made.status());
  GrpcTransport& transport = **made;
  std::vector<std::string> peers(2);
  peers[static_cast<size_t>(rank)] = transport.address();
  peers[static_cast<size_t>(1 - rank)] = exchange_address(transport.address(), peer_fd);
  require(transport.connect(1, peers, absl::Now() + kDeadline));
  const Payload tile(std::vector<uint8_t>(kTile, 7));
  const uint32_t crc = core::crc32c(tile.bytes());
  const auto pass = [&](int64_t count, bool checked) {
    for (int64_t i = 0; i < count; ++i) {
      if (rank == 0) {
        require(transport.send(1, make_frame(0, tile, crc), absl::Now() + kDeadline));
        continue;
      }
      const auto frame = transport.receive(0, absl::Now() + kDeadline);
      require(frame.status());
      if (checked) {
        require(check_payload(frame->header, frame->payload.bytes()));
      }
    }
    if (rank == 0) {
      require(transport.receive(1, absl::Now() + kDeadline).status());
    } else {
      require(transport.send(0, make_frame(1, Payload(), 0), absl::Now() + kDeadline));
    }
  };
  pass(kCheckedFrames, /*checked=*/true);
  const Meter meter;
  pass(frames, /*checked=*/false);
  const Cost cost = meter.end();
  require(transport.finish(absl::Now() + kDeadline));
  return cost;
}

// Both ends in processes of their own; the parent never starts gRPC, so it may fork.
Cost measure(const Side& side, int64_t frames) {
  std::array<int, 2> link{};
  require(socketpair(AF_UNIX, SOCK_STREAM, 0, link.data()) == 0, "no socket pair");
  std::array<std::array<int, 2>, 2> results{};
  std::array<pid_t, 2> children{};
  for (size_t rank = 0; rank < 2; ++rank) {
    require(pipe(results[rank].data()) == 0, "no pipe");
    children[rank] = fork();
    require(children[rank] >= 0, "cannot fork");
    if (children[rank] == 0) {
      const Cost cost = side(static_cast<int>(rank), link[rank], frames);
      write_all(results[rank][1], &cost, sizeof(cost));
      std::_Exit(0);
    }
    close(results[rank][1]);
  }
  close(link[0]);
  close(link[1]);
  std::array<Cost, 2> costs{};
  for (size_t rank = 0; rank < 2; ++rank) {
    read_all(results[rank][0], &costs[rank], sizeof(Cost));
    close(results[rank][0]);
    waitpid(children[rank], nullptr, 0);
  }
  return {costs[0].wall_s, costs[0].cpu_s + costs[1].cpu_s};
}

struct Series {
  std::string name;
  Side side;
  Samples gb_per_s = {};
  Samples cpu_s_per_gb = {};
};

struct Options {
  int64_t mib = 2048;
  int repetitions = 5;
  std::string json;
};

std::vector<Series> all_series() {
  using std::placeholders::_1;
  using std::placeholders::_2;
  using std::placeholders::_3;
  std::vector<Series> all;
  for (const int kib : {256, 1024}) {
    all.push_back({.name = absl::StrCat("raw_tcp_", kib, "KiB"),
                   .side = std::bind(raw_tcp, static_cast<size_t>(kib) << 10, _1, _2, _3)});
  }
  for (const int lanes : {1, 2, 4}) {
    all.push_back({.name = absl::StrCat("grpc_bulk_1MiB_", lanes, lanes == 1 ? "lane" : "lanes"),
                   .side = std::bind(grpc_frames, lanes, _1, _2, _3)});
  }
  return all;
}

absl::Status run(const Options& options) {
  std::vector<Series> all = all_series();
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    for (Series& series : all) {
      const Cost cost = measure(series.side, options.mib);
      const double gb = static_cast<double>(options.mib * kFramePayloadBytesMax) * 1e-9;
      series.gb_per_s.add(gb / cost.wall_s);
      series.cpu_s_per_gb.add(cost.cpu_s / gb);
    }
  }
  // The harder of the two is the one to be compared with.
  const Series& peer = all[0].gb_per_s.median() > all[1].gb_per_s.median() ? all[0] : all[1];
  Report report;
  report.set("frames", absl::StrCat(options.mib, " of 1 MiB, over loopback"));
  report.set("repetitions", absl::StrCat(options.repetitions));
  report.set("clock", "wall, from the first frame to the answer; CPU of both ends together");
  for (const Series& series : all) {
    if (&series == &peer) {
      report.add(series.name, series.gb_per_s, "GB/s");
      report.add(series.name + "_cpu", series.cpu_s_per_gb, "s/GB");
    } else {
      report.add(series.name, series.gb_per_s, "GB/s", peer.name, peer.gb_per_s);
      report.add(series.name + "_cpu", series.cpu_s_per_gb, "s/GB", peer.name, peer.cpu_s_per_gb);
    }
  }
  return report.finish(options.json);
}

}  // namespace
}  // namespace laconic::bench

int main(int argc, char** argv) {
  laconic::bench::Options options;
  CLI::App app("Measures bulk transfer between two ranks over our streams, against raw TCP.");
  app.add_option("--mib", options.mib, "1 MiB frames of each measurement")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measurements of each way")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--json", options.json, "file to write the report to");
  CLI11_PARSE(app, argc, argv);
  laconic::bench::require(laconic::bench::run(options));
  return 0;
}
