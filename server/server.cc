#include "server/server.h"

#include <fcntl.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/status_macros.h"
#include "common/wire/channel.h"

namespace laconic::server {
namespace {

absl::Status check_address(const std::string& flag, const std::string& address, bool insecure) {
  const absl::StatusOr<std::string> host = wire::host_of(address);
  if (!host.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", address, ": ", std::string(host.status().message())));
  }
  if (!insecure && !wire::is_loopback(address)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", address, ": ", *host,
                     " is not a loopback address, and without TLS anybody who reaches it could "
                     "run jobs; use 127.0.0.1, or --insecure on a network that you trust"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::start(const ServerOptions& options) {
  LACONIC_RETURN_IF_ERROR(check_address("--listen", options.listen, options.insecure));
  if (!options.metrics_listen.empty()) {
    LACONIC_RETURN_IF_ERROR(
        check_address("--metrics-listen", options.metrics_listen, options.insecure));
  }
  std::unique_ptr<Server> server(new Server());
  Engine::Options engine_options;
  engine_options.data_dir = options.data_dir;
  engine_options.limits = options.limits;
  engine_options.insecure = options.insecure;
  LACONIC_ASSIGN_OR_RETURN(server->engine_,
                           Engine::open(std::move(engine_options), server->metrics_));
  server->engine_->start();
  server->jobs_ = std::make_unique<JobServiceImpl>(*server->engine_);
  server->nodes_ = std::make_unique<NodeServiceImpl>(*server->engine_);
  server->sessions_ = std::make_unique<SessionServiceImpl>(*server->engine_);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  wire::apply_control_settings(builder);
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  // Without this a second server would silently share the port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(server->jobs_.get());
  builder.RegisterService(server->nodes_.get());
  builder.RegisterService(server->sessions_.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("--listen ", options.listen,
                                               ": cannot listen; give a free port, 0 takes any"));
  }
  server->address_ = absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port);
  if (!options.metrics_listen.empty()) {
    LACONIC_ASSIGN_OR_RETURN(server->metrics_address_,
                             server->metrics_.serve(options.metrics_listen));
  }
  grpc::HealthCheckServiceInterface* health = server->server_->GetHealthCheckService();
  for (const char* service : {"", "liveness", "readiness", "laconic.v1.JobService"}) {
    health->SetServingStatus(service, true);
  }
  return server;
}

void Server::stop(absl::Duration deadline) {
  if (std::exchange(stopped_, true) || server_ == nullptr) {
    return;
  }
  server_->GetHealthCheckService()->SetServingStatus(false);
  engine_->drain();
  // Every reactor has been finished or will be: those in the queue by the engine, which still runs,
  // and whatever a client holds open is cut at the deadline. So this cannot hang.
  server_->Shutdown(absl::ToChronoTime(absl::Now() + deadline));
  server_->Wait();
  engine_->stop();
}

Server::~Server() {
  stop(absl::Seconds(1));
}

absl::Status write_ready_file(const std::string& path, const Server& server) {
  const std::string fresh = absl::StrCat(path, ".", ::getpid());
  std::ofstream out(fresh);
  out << absl::StrCat("{\"pid\":", ::getpid(), ",\"address\":\"", server.address(),
                      "\",\"metrics_address\":\"", server.metrics_address(), "\"}\n");
  out.close();
  if (!out || std::rename(fresh.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("--ready-file ", path, ": cannot be written"));
  }
  return absl::OkStatus();
}

}  // namespace laconic::server
