// Channel and server settings, both ends in one place so that they match.
// Source of the numbers: docs/operations.md, "Connections".
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic::wire {

inline constexpr int kControlMessageBytesMax = 4 << 20;
inline constexpr int kDataMessageBytesMax = 8 << 20;

// Control plane: keepalive 30 s / 10 s, 4 MiB messages, no compression.
grpc::ChannelArguments control_channel_arguments();
void apply_control_settings(grpc::ServerBuilder& builder);

// Data plane: big HTTP/2 frames and reads, no bandwidth probe, own connection per channel. The
// window of 64 MiB is shared out over the `lanes` >= 1 connections between two ranks.
grpc::ChannelArguments data_channel_arguments(int lanes);
void apply_data_settings(grpc::ServerBuilder& builder, int lanes);

// Lets the C library keep up to 256 MiB of freed memory per heap for the next message, for the
// whole process. Without it each message of 1 MiB is given back and faulted in again, page by page:
// 0.50 instead of 0.30 CPU seconds per GB, both ends together (bench/transport_bench.cc).
void keep_freed_memory();

// The host of "host:port" or "[v6]:port". Errors: InvalidArgument with what is expected.
absl::StatusOr<std::string> host_of(const std::string& address);
// True for unix sockets and for hosts that are a loopback address or "localhost".
bool is_loopback(const std::string& address);

}  // namespace laconic::wire
