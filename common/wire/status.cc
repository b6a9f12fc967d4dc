#include "common/wire/status.h"

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "laconic/v1/control.pb.h"

namespace laconic::wire {
namespace {

// Payload keys on an absl::Status are type URLs, by Abseil's convention.
constexpr char kErrorInfoType[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestType[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kDomain[] = "laconic";

template <typename Message>
bool parse_payload(const absl::Status& status, const char* type, Message& message) {
  const absl::optional<absl::Cord> payload = status.GetPayload(type);
  return payload.has_value() && message.ParseFromString(std::string(*payload));
}

void copy_payload(const absl::Status& status, const char* type, v1::ErrorStatus& details) {
  const absl::optional<absl::Cord> payload = status.GetPayload(type);
  if (payload.has_value()) {
    v1::ErrorDetail& detail = *details.add_details();
    detail.set_type_url(type);
    detail.set_value(std::string(*payload));
  }
}

}  // namespace

absl::Status with_error_info(absl::Status status, const ErrorInfo& info) {
  v1::ErrorInfo message;
  message.set_reason(info.reason);
  message.set_domain(kDomain);
  message.mutable_metadata()->insert(info.metadata.begin(), info.metadata.end());
  status.SetPayload(kErrorInfoType, absl::Cord(message.SerializeAsString()));
  return status;
}

ErrorInfo error_info(const absl::Status& status) {
  v1::ErrorInfo message;
  if (!parse_payload(status, kErrorInfoType, message)) {
    return {};
  }
  ErrorInfo info{.reason = message.reason(), .metadata = {}};
  info.metadata.insert(message.metadata().begin(), message.metadata().end());
  return info;
}

absl::Status invalid_job(const std::vector<Violation>& violations) {
  v1::BadRequest bad_request;
  std::string text = "the job is invalid:";
  for (const Violation& violation : violations) {
    v1::FieldViolation& field = *bad_request.add_field_violations();
    field.set_field(violation.path);
    field.set_description(violation.description);
    absl::StrAppend(&text, "\n  ", violation.path, " ", violation.description);
  }
  absl::Status status = with_error_info(
      absl::InvalidArgumentError(text),
      {.reason = "INVALID_JOB", .metadata = {{"violations", absl::StrCat(violations.size())}}});
  status.SetPayload(kBadRequestType, absl::Cord(bad_request.SerializeAsString()));
  return status;
}

std::vector<Violation> violations(const absl::Status& status) {
  v1::BadRequest bad_request;
  std::vector<Violation> result;
  if (parse_payload(status, kBadRequestType, bad_request)) {
    for (const v1::FieldViolation& field : bad_request.field_violations()) {
      result.push_back({.path = field.field(), .description = field.description()});
    }
  }
  return result;
}

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  v1::ErrorStatus details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  copy_payload(status, kErrorInfoType, details);
  copy_payload(status, kBadRequestType, details);
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          details.SerializeAsString()};
}

absl::Status from_grpc(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  v1::ErrorStatus details;
  if (details.ParseFromString(status.error_details())) {
    for (const v1::ErrorDetail& detail : details.details()) {
      // Only what we know: a peer must not choose which payloads we carry.
      if (detail.type_url() == kErrorInfoType || detail.type_url() == kBadRequestType) {
        result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
      }
    }
  }
  return result;
}

}  // namespace laconic::wire
