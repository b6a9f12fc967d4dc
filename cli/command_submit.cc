// submit, validate.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/job_description.h"
#include "cli/job_file.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "common/core/exit_codes.h"

namespace laconic::cli {
namespace {

struct SubmitOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::string request_id;
  bool dry_run = false;
  bool follow = false;
  bool wait = false;
};

void print_hints(Session& session, const std::string& id) {
  session.note(absl::StrCat("job ", id, " is accepted; next:\n  laconic watch ", id,
                            "\n  laconic logs -f ", id, "\n  laconic why ", id,
                            "\n  laconic cancel ", id));
}

int end_of_follow(Session& session, const std::string& id, const absl::StatusOr<v1::Job>& job) {
  if (absl::IsCancelled(job.status())) {
    session.note(absl::StrCat("detached; the job goes on. To follow it again: laconic watch ", id,
                              "\nTo end it: laconic cancel ", id));
    return session.json() ? session.fail(absl::CancelledError("detached; the job goes on"))
                          : static_cast<int>(core::kExitInterrupted);
  }
  if (!job.ok()) {
    return session.fail(job.status());
  }
  if (session.json()) {
    session.write_json(json_message(*job));
  } else if (job->state() == v1::SUCCEEDED) {
    session.note(summary_text(*job, ""));
  } else {
    session.console.err << failure_text(*job) << std::flush;
  }
  return exit_code_of(job->state());
}

int follow_submitted(Session& session, Client& client, const std::string& id, bool show) {
  ProgressDisplay display(session);
  FollowOptions follow;
  if (show) {
    follow.update = [&](const v1::Job& job, const v1::Job&) { display.show(job, absl::Now()); };
    follow.tick = [&](const v1::Job& job) {
      display.show(job, absl::Now());
      return absl::OkStatus();
    };
  }
  const absl::StatusOr<v1::Job> job = follow_job(client, id, follow);
  display.end_line();
  return end_of_follow(session, id, job);
}

int submit(Session& session, const SubmitOptions& options) {
  const absl::StatusOr<v1::TrainJob> job = load_job_file(options.file, options.overrides);
  if (!job.ok()) {
    return session.fail_usage(job.status());
  }
  v1::CreateJobRequest request;
  *request.mutable_job() = *job;
  request.set_validate_only(options.dry_run);
  request.set_request_id(options.request_id);
  if (options.request_id.empty()) {
    const absl::StatusOr<std::string> id = new_request_id();
    if (!id.ok()) {
      return session.fail(id.status());
    }
    request.set_request_id(*id);
  }
  Client client = session.connect();
  const absl::StatusOr<v1::CreateJobResponse> created = client.create_job(request);
  if (!created.ok()) {
    if (absl::IsUnavailable(created.status()) || absl::IsDeadlineExceeded(created.status()) ||
        absl::IsCancelled(created.status())) {
      // The server may have stored the job before it went away.
      session.note(absl::StrCat("to submit again without a second job: --request-id ",
                                request.request_id()));
    }
    return session.fail(created.status());
  }
  const std::string id = created->job().id();
  const bool stay = (options.follow || options.wait) && !options.dry_run;
  if (session.json() && !stay) {
    session.write_json(json_message(created->job()));
  } else if (!session.json() && !options.dry_run) {
    session.console.out << id << "\n" << std::flush;
  }
  if (options.dry_run) {
    session.note("the server would accept this job; nothing was stored");
    return core::kExitOk;
  }
  if (!stay) {
    print_hints(session, id);
    return core::kExitOk;
  }
  return follow_submitted(session, client, id, options.follow);
}

int validate(Session& session, const SubmitOptions& options) {
  const absl::StatusOr<v1::TrainJob> job = load_job_file(options.file, options.overrides);
  if (!job.ok()) {
    return session.fail_usage(job.status());
  }
  if (session.json()) {
    session.write_json(absl::StrCat("{\"job\":", json_message(*job),
                                    ",\"description\":", json_string(describe_job(*job)), "}"));
  } else {
    session.console.out << describe_job(*job);
    session.note(absl::StrCat(options.file, " is valid"));
  }
  return core::kExitOk;
}

void add_file_options(CLI::App& command, SubmitOptions& options) {
  command.add_option("-f,--file", options.file, "Job file: YAML, .json or .textproto")
      ->required()
      ->type_name("FILE");
  command
      .add_option("--set", options.overrides, "Replace a field: spec.train.steps=10 (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

}  // namespace

void add_submit(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "submit", "Hand a job to the server; prints its id",
                                  "laconic submit -f job.yaml --set spec.train.steps=100 --follow");
  auto options = std::make_shared<SubmitOptions>();
  add_file_options(*command, *options);
  command
      ->add_option("--request-id", options->request_id,
                   "UUID; the same one always gets the same job. Default: a new one")
      ->type_name("UUID");
  command->add_flag("--dry-run", options->dry_run, "Let the server check the job, store nothing");
  CLI::Option* follow =
      command->add_flag("--follow", options->follow, "Show progress until the job has ended");
  command->add_flag("--wait", options->wait, "Wait silently until the job has ended")
      ->excludes(follow);
  command->callback([&session, options] {
    session.action = [&session, options] { return submit(session, *options); };
  });
}

void add_validate(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "validate", "Check a job file; show derived timeouts and predicted bytes",
                  "laconic validate -f job.yaml");
  auto options = std::make_shared<SubmitOptions>();
  add_file_options(*command, *options);
  command->callback([&session, options] {
    session.action = [&session, options] { return validate(session, *options); };
  });
}

}  // namespace laconic::cli
