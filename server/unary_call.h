// One unary call through the engine.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/wire/status.h"
#include "server/engine.h"

namespace laconic::server {

// Runs `call` (returns absl::Status) on the engine's thread and answers with its status. Request
// and response live until the answer, as gRPC guarantees.
template <typename Call>
grpc::ServerUnaryReactor* answer(Engine& engine, grpc::CallbackServerContext* context,
                                 const std::string& method, Call call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [&engine, reactor, method](const absl::Status& status) {
    engine.metrics().handled(method, absl::StatusCodeToString(status.code()));
    reactor->Finish(wire::to_grpc(status));
  };
  if (!engine.try_post([finish, call = std::move(call)]() mutable { finish(call()); })) {
    finish(Engine::busy());
  }
  return reactor;
}

}  // namespace laconic::server
