#include "server/node_service.h"

#include "common/core/version.h"
#include "server/unary_call.h"

namespace laconic::server {

grpc::ServerUnaryReactor* NodeServiceImpl::ListNodes(grpc::CallbackServerContext* context,
                                                     const v1::ListNodesRequest* /*request*/,
                                                     v1::ListNodesResponse* response) {
  return answer(engine_, context, "ListNodes", [this, response] {
    *response = engine_.list_nodes();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NodeServiceImpl::GetServerInfo(
    grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* /*request*/,
    v1::GetServerInfoResponse* response) {
  return answer(engine_, context, "GetServerInfo", [response] {
    response->set_version(core::kVersion);
    return absl::OkStatus();
  });
}

}  // namespace laconic::server
