#include "common/wire/channel.h"

#include <arpa/inet.h>
#include <grpc/impl/codegen/compression_types.h>
#include <grpc/impl/codegen/grpc_types.h>
#include <malloc.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::wire {
namespace {

constexpr int kSecondMs = 1000;
// Whoever pings more often than the server allows is thrown out with "too many pings", so the two
// numbers of each plane belong together: ping interval > server's minimum.
constexpr int kControlPingMs = 30 * kSecondMs;
constexpr int kControlPingTimeoutMs = 10 * kSecondMs;
constexpr int kDataPingMs = 10 * kSecondMs;
// A ping waits behind what is queued: 8 MiB at 4 Mbit/s are 17 s. A dead process shows at once, by
// its closed connection.
constexpr int kDataPingTimeoutMs = 30 * kSecondMs;
constexpr int kServerMinPingMs = 5 * kSecondMs;

// Bulk settings of the data plane. Measured with bench/transport_bench.cc, 1 MiB messages on
// loopback, gRPC 1.51.
//
// One HTTP/2 frame per message; the default of 16 KiB makes 64 of them. Largest HTTP/2 allows.
constexpr int kDataFrameBytes = (16 << 20) - 1;
// One recvmsg() per message where gRPC heeds it: 1.51 reads into slices of 64 KiB unless
// GRPC_EXPERIMENTS=-tcp_read_chunks, which was not faster once freed memory is kept.
constexpr int kDataReadBytes = 1 << 20;
// Messages handed over before the first is on the wire, so that the next write is always ready.
constexpr int kDataWriteBufferBytes = 8 << 20;
// Window of all lanes together, set by hand instead of by the bandwidth probe, which stops at
// 4 MiB: 64 MiB keep 5 Gbit/s busy over 100 ms.
constexpr int kDataLookaheadBytes = 64 << 20;
// Blocks up to this size come from the heap (the most that glibc allows), and a heap gives memory
// back only above that size.
constexpr int kHeapBlockBytesMax = 32 << 20;
constexpr int kHeapKeptBytes = 256 << 20;

// Applies one list of settings to a channel or a server builder.
template <typename SetInt>
void set_control(SetInt set) {
  set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kControlMessageBytesMax);
  set(GRPC_ARG_KEEPALIVE_TIME_MS, kControlPingMs);
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kControlPingTimeoutMs);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A web proxy named in the environment is for web pages; it knows no way to a worker or to this
  // machine's loopback.
  set(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
}

template <typename SetInt>
void set_data(int lanes, SetInt set) {
  set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kDataMessageBytesMax);
  set(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, kDataMessageBytesMax);
  set(GRPC_ARG_KEEPALIVE_TIME_MS, kDataPingMs);
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kDataPingTimeoutMs);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  set(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  set(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kDataFrameBytes);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kDataLookaheadBytes / lanes);
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_TCP_READ_CHUNK_SIZE, kDataReadBytes);
  set(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kDataWriteBufferBytes);
}

void set_server(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kServerMinPingMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  // Two servers on one port would share its connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
}

}  // namespace

grpc::ChannelArguments control_channel_arguments() {
  grpc::ChannelArguments arguments;
  set_control([&](const char* name, int value) { arguments.SetInt(name, value); });
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5 * kSecondMs);
  return arguments;
}

void apply_control_settings(grpc::ServerBuilder& builder) {
  set_control([&](const char* name, int value) { builder.AddChannelArgument(name, value); });
  set_server(builder);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  // NOLINTBEGIN(concurrency-mt-unsafe): glibc writes both under the lock of its main heap; a thread
  // that allocates meanwhile goes by the old number or by the new one.
  mallopt(M_MMAP_THRESHOLD, kHeapBlockBytesMax);
  mallopt(M_TRIM_THRESHOLD, kHeapKeptBytes);
  // NOLINTEND(concurrency-mt-unsafe)
#endif
}

grpc::ChannelArguments data_channel_arguments(int lanes) {
  grpc::ChannelArguments arguments;
  set_data(lanes, [&](const char* name, int value) { arguments.SetInt(name, value); });
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kSecondMs);
  return arguments;
}

void apply_data_settings(grpc::ServerBuilder& builder, int lanes) {
  set_data(lanes, [&](const char* name, int value) { builder.AddChannelArgument(name, value); });
  set_server(builder);
}

absl::StatusOr<std::string> host_of(const std::string& address) {
  const size_t colon = address.rfind(':');
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("'", address, "' is no address: give HOST:PORT, or [IPv6]:PORT"));
  };
  if (colon == std::string::npos || colon == 0) {
    return wrong();
  }
  int port = -1;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return wrong();
  }
  const std::string host = address.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 4 || host.back() != ']') {
      return wrong();
    }
    return host.substr(1, host.size() - 2);
  }
  if (host.find(':') != std::string::npos) {
    return wrong();
  }
  return host;
}

bool is_loopback(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) {
    return true;
  }
  const absl::StatusOr<std::string> host = host_of(address);
  if (!host.ok()) {
    return false;
  }
  if (*host == "localhost" || *host == "::1") {
    return true;
  }
  in_addr parsed{};
  return inet_pton(AF_INET, host->c_str(), &parsed) == 1 && (ntohl(parsed.s_addr) >> 24) == 127;
}

}  // namespace laconic::wire
