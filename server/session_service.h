// laconic.v1.SessionService over gRPC: one stream per worker.
#pragma once

#include "laconic/v1/control.grpc.pb.h"
#include "server/engine.h"

namespace laconic::server {

// Thread-safe.
class SessionServiceImpl : public v1::SessionService::CallbackService {
 public:
  explicit SessionServiceImpl(Engine& engine) : engine_(engine) {}

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;

 private:
  Engine& engine_;
};

}  // namespace laconic::server
