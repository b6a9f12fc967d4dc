// cancel, delete.
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "common/core/exit_codes.h"

namespace laconic::cli {
namespace {

int cancel(Session& session, const std::string& id) {
  Client client = session.connect();
  const absl::StatusOr<v1::CancelJobResponse> response = client.cancel_job(id);
  if (!response.ok()) {
    return session.fail(response.status());
  }
  if (session.json()) {
    session.write_json(json_message(response->job()));
  } else {
    session.console.out << response->job().id() << " " << state_name(response->job().state())
                        << "\n";
  }
  return core::kExitOk;
}

int delete_job(Session& session, const std::string& id) {
  Client client = session.connect();
  const absl::StatusOr<v1::DeleteJobResponse> response = client.delete_job(id);
  if (!response.ok()) {
    return session.fail(response.status());
  }
  if (session.json()) {
    session.write_json("{}");
  } else {
    session.note(absl::StrCat("job ", id, " is deleted"));
  }
  return core::kExitOk;
}

void add(CLI::App* command, Session& session, int (*run)(Session&, const std::string&)) {
  auto id = std::make_shared<std::string>();
  command->add_option("JOB", *id, "Id of the job, or its name where only one job has it")
      ->required();
  command->callback(
      [&session, id, run] { session.action = [&session, id, run] { return run(session, *id); }; });
}

}  // namespace

void add_cancel(CLI::App& app, Session& session) {
  add(add_command(app, "cancel", "End a job and its trainers", "laconic cancel 4k2p9x7abc"),
      session, cancel);
}

void add_delete(CLI::App& app, Session& session) {
  add(add_command(app, "delete", "Forget a job that has ended, with its logs",
                  "laconic delete 4k2p9x7abc"),
      session, delete_job);
}

}  // namespace laconic::cli
