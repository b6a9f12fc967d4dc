// laconic-server as an object: the engine, its gRPC services, health, and the metrics page.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "server/engine.h"
#include "server/job_service.h"
#include "server/node_service.h"
#include "server/session_service.h"

namespace laconic::server {

struct ServerOptions {
  std::string listen = "127.0.0.1:7070";          // host:port, port 0 takes any free one
  std::string metrics_listen = "127.0.0.1:7071";  // empty: no metrics page
  std::string data_dir;
  bool insecure = false;  // allows other than loopback addresses, in plaintext
  Limits limits;
};

class Server {
 public:
  // Listens and serves once this returns.
  // Errors: InvalidArgument for a bad address, or one that is not loopback without `insecure`;
  // Unavailable when a port is taken; those of Engine::open().
  static absl::StatusOr<std::unique_ptr<Server>> start(const ServerOptions& options);
  ~Server();

  const std::string& address() const { return address_; }                  // host:port
  const std::string& metrics_address() const { return metrics_address_; }  // empty: off
  metrics::Metrics& metrics() { return metrics_; }

  // Health says NOT_SERVING, live streams end with Unavailable, calls in flight get until
  // `deadline` from now, then everything is cut. Idempotent; returns within the deadline and a
  // little.
  void stop(absl::Duration deadline);

 private:
  Server() = default;

  metrics::Metrics metrics_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<JobServiceImpl> jobs_;
  std::unique_ptr<NodeServiceImpl> nodes_;
  std::unique_ptr<SessionServiceImpl> sessions_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::string metrics_address_;
  bool stopped_ = false;
};

// Writes {"pid", "address", "metrics_address"} to `path` in one step (a rename).
absl::Status write_ready_file(const std::string& path, const Server& server);

}  // namespace laconic::server
