// Errors across gRPC: absl::Status on both sides, with one machine-readable reason.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/wire/job_spec.h"

namespace laconic::wire {

// The reason (UPPER_SNAKE, docs/errors.md) and every variable part of the message.
struct ErrorInfo {
  std::string reason;
  std::map<std::string, std::string> metadata;
};

// An absl::Status that carries `info` as a payload, so that it survives to_grpc().
absl::Status with_error_info(absl::Status status, const ErrorInfo& info);
// The info of a status; reason is empty when it has none.
ErrorInfo error_info(const absl::Status& status);

// InvalidArgument, reason INVALID_JOB, one field violation per entry.
absl::Status invalid_job(const std::vector<Violation>& violations);
std::vector<Violation> violations(const absl::Status& status);

// Codes map one to one; details travel as google.rpc.Status (trailer grpc-status-details-bin).
grpc::Status to_grpc(const absl::Status& status);
absl::Status from_grpc(const grpc::Status& status);

}  // namespace laconic::wire
