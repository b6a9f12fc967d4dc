// cancel, delete.
#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/job_text.h"

namespace laconic::cli {
namespace {

int cancel(Session& session, const std::string& id) {
  return session.answer(session.connect().cancel_job(id), [&](const v1::Job& job) {
    session.console.out << job.id() << " " << state_name(job.state()) << "\n";
  });
}

int delete_job(Session& session, const std::string& id) {
  return session.answer(session.connect().delete_job(id), [&](const v1::DeleteJobResponse&) {
    session.note(absl::StrCat("job ", id, " is deleted"));
  });
}

}  // namespace

void add_cancel(CLI::App& app, Session& session) {
  add_job_command(
      add_command(app, "cancel", "End a job and its trainers", "laconic cancel 4k2p9x7abc"),
      session, cancel);
}

void add_delete(CLI::App& app, Session& session) {
  add_job_command(add_command(app, "delete", "Forget a job that has ended, with its logs",
                              "laconic delete 4k2p9x7abc"),
                  session, delete_job);
}

}  // namespace laconic::cli
