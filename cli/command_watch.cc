// watch, wait.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "common/core/exit_codes.h"
#include "common/wire/status.h"

namespace laconic::cli {
namespace {

struct WaitOptions {
  std::string job;
  std::string timeout;
};

int watch(Session& session, const std::string& id) {
  ProgressDisplay display(session);
  FollowOptions options;
  options.update = [&](const v1::Job& job, const v1::Job& update) {
    if (session.json()) {
      session.write_json_line(json_message(update), is_final(update.state()));
    } else {
      display.show(job, absl::Now());
    }
  };
  options.tick = [&](const v1::Job& job) {
    if (!session.json() && job.state() != v1::JOB_STATE_UNSPECIFIED) {
      display.show(job, absl::Now());
    }
    return absl::OkStatus();
  };
  options.away = [&] {
    display.end_line();
    session.note_away();
  };
  Client client = session.connect();
  const absl::StatusOr<v1::Job> job = follow_job(client, id, options);
  display.end_line();
  if (absl::IsCancelled(job.status())) {
    return session.detached(absl::StrCat("laconic watch ", id));
  }
  if (!job.ok()) {
    return session.fail_stream(job.status());
  }
  if (!session.json()) {
    if (job->state() == v1::SUCCEEDED) {
      session.console.out << summary_text(*job, "");
    } else {
      session.console.out << failure_text(*job);
    }
  }
  return exit_code_of(job->state());
}

int wait(Session& session, const WaitOptions& wait_options) {
  FollowOptions options;
  if (!wait_options.timeout.empty()) {
    const absl::StatusOr<absl::Duration> limit = parse_duration(wait_options.timeout);
    if (!limit.ok()) {
      return session.fail_usage(absl::InvalidArgumentError(
          absl::StrCat("--timeout: ", std::string(limit.status().message()))));
    }
    options.deadline = absl::Now() + *limit;
  }
  Client client = session.connect();
  const absl::StatusOr<v1::Job> job = follow_job(client, wait_options.job, options);
  if (absl::IsCancelled(job.status())) {
    return session.detached(absl::StrCat("laconic wait ", wait_options.job));
  }
  if (!job.ok()) {
    const int code = session.fail(job.status());
    return wire::error_info(job.status()).reason == kWaitTimeoutReason ? core::kExitWaitTimeout
                                                                       : code;
  }
  if (session.json()) {
    session.write_json(json_message(*job));
  } else {
    session.console.out << state_name(job->state()) << "\n";
    if (job->state() != v1::SUCCEEDED) {
      session.console.err << failure_text(*job);
    }
  }
  return exit_code_of(job->state());
}

}  // namespace

void add_watch(CLI::App& app, Session& session) {
  add_job_command(
      add_command(app, "watch", "Show a job's progress until it has ended; ends with its exit code",
                  "laconic watch 4k2p9x7abc"),
      session, watch);
}

void add_wait(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "wait", "Wait until a job has ended; ends with its exit code",
                  "laconic wait 4k2p9x7abc --timeout 2h");
  auto options = std::make_shared<WaitOptions>();
  add_job_argument(command, options->job);
  command
      ->add_option("--timeout", options->timeout,
                   "Longest wait: 30s, 5m, 2h; then exit code 124. Default: no limit")
      ->type_name("DURATION");
  command->callback([&session, options] {
    session.action = [&session, options] { return wait(session, *options); };
  });
}

}  // namespace laconic::cli
