// report.
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/report_files.h"
#include "common/core/exit_codes.h"

namespace laconic::cli {
namespace {

struct ReportOptions {
  std::string job;
  std::string directory;
};

int report(Session& session, const ReportOptions& options) {
  absl::Status status = make_writable_directory(options.directory);
  if (!status.ok()) {
    return session.fail(status);
  }
  Client client = session.connect();
  const absl::StatusOr<v1::Job> job = client.get_job(options.job);
  if (!job.ok()) {
    return session.fail(job.status());
  }
  status = write_report(*job, options.directory, "report");
  if (!status.ok()) {
    return session.fail(status);
  }
  const std::string json = absl::StrCat(options.directory, "/report.json");
  const std::string html = absl::StrCat(options.directory, "/report.html");
  if (session.json()) {
    session.write_json(
        absl::StrCat("{\"files\":[", json_string(json), ",", json_string(html), "]}"));
  } else {
    session.console.out << json << "\n" << html << "\n";
  }
  return core::kExitOk;
}

}  // namespace

void add_report(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "report", "Write report.json and report.html of a job",
                                  "laconic report 4k2p9x7abc --out runs/fashion");
  auto options = std::make_shared<ReportOptions>();
  add_job_argument(command, options->job);
  command->add_option("--out", options->directory, "Directory of the files; made if missing")
      ->type_name("DIR")
      ->required();
  command->callback([&session, options] {
    session.action = [&session, options] { return report(session, *options); };
  });
}

}  // namespace laconic::cli
