#include "cli/session.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "common/core/exit_codes.h"
#include "common/core/format.h"
#include "common/wire/status.h"

namespace laconic::cli {

void Session::write_json(const std::string& data) {
  console.out << "{\"schema_version\":1,\"ok\":true,\"data\":" << data << ",\"warnings\":[]}\n"
              << std::flush;
}

void Session::write_json_line(const std::string& data, bool terminal) {
  console.out << "{\"schema_version\":1,\"ok\":true,\"terminal\":" << (terminal ? "true" : "false")
              << ",\"data\":" << data << "}\n"
              << std::flush;
}

void Session::note(const std::string& text) {
  if (!options.quiet) {
    console.err << text << "\n" << std::flush;
  }
}

void Session::note_away() {
  note(absl::StrCat("laconic-server is away; tries again for ", core::format_duration(timeout),
                    ". The job goes on"));
}

int Session::fail(const absl::Status& status) {
  return report_failure(status, false);
}

int Session::fail_stream(const absl::Status& status) {
  return report_failure(status, true);
}

int Session::report_failure(const absl::Status& status, bool streamed) {
  if (json()) {
    console.out << error_json(status, streamed) << "\n" << std::flush;
  } else {
    console.err << "laconic: " << printable(std::string(status.message())) << "\n" << std::flush;
  }
  if (options.verbose) {
    const wire::ErrorInfo info = wire::error_info(status);
    console.err << "laconic: code " << code_name(status.code()) << ", reason "
                << (info.reason.empty() ? "none given" : info.reason) << "\n";
  }
  return exit_code_of(status);
}

int Session::fail_usage(const absl::Status& status) {
  fail(status);
  return core::kExitUsage;
}

int Session::detached(const std::string& command) {
  if (json()) {
    return fail_stream(absl::CancelledError("detached; the job goes on"));
  }
  note(absl::StrCat("detached; the job goes on. To follow it again: ", command));
  return core::kExitInterrupted;
}

std::string error_json(const absl::Status& status, bool streamed) {
  const wire::ErrorInfo info = wire::error_info(status);
  const auto entry = [](std::string* out, const auto& pair) {
    absl::StrAppend(out, json_string(pair.first), ":", json_string(pair.second));
  };
  return absl::StrCat("{\"schema_version\":1,\"ok\":false,", streamed ? "\"terminal\":true," : "",
                      "\"error\":{\"code\":", json_string(code_name(status.code())),
                      ",\"reason\":", json_string(info.reason),
                      ",\"message\":", json_string(std::string(status.message())),
                      ",\"metadata\":{", absl::StrJoin(info.metadata, ",", entry), "}}}");
}

}  // namespace laconic::cli
