// laconic.v1.NodeService over gRPC.
#pragma once

#include "laconic/v1/control.grpc.pb.h"
#include "server/engine.h"

namespace laconic::server {

// Thread-safe.
class NodeServiceImpl : public v1::NodeService::CallbackService {
 public:
  explicit NodeServiceImpl(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;

 private:
  Engine& engine_;
};

}  // namespace laconic::server
