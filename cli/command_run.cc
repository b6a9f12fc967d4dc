// run: server, worker and trainers of one machine, for one job.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/job_file.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/local_cluster.h"
#include "cli/progress.h"
#include "cli/report_files.h"
#include "common/core/exit_codes.h"
#include "common/core/status_macros.h"

namespace laconic::cli {
namespace {

// How long trainers get to end after Ctrl-C before everything is killed.
constexpr absl::Duration kCancelDeadline = absl::Seconds(10);

struct RunOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::optional<int> workers;
  std::string directory;
};

struct Ended {
  v1::Job job;
  absl::StatusOr<std::string> report;  // path without ".json" or ".html"
};

// A result of an earlier run in the same directory.
bool holds_a_result(const std::string& directory) {
  std::ifstream file(directory + "/report.json");
  std::stringstream content;
  content << file.rdbuf();
  return content.str().find("\"result\": \"SUCCEEDED\"") != std::string::npos;
}

// A run that did not succeed leaves an earlier result and its report as they are.
absl::StatusOr<std::string> write_run_report(const v1::Job& job, const std::string& directory) {
  const bool keep_old = job.state() != v1::SUCCEEDED && holds_a_result(directory);
  const std::string stem = keep_old ? "failed-report" : "report";
  LACONIC_RETURN_IF_ERROR(write_report(job, directory, stem));
  if (!keep_old) {
    for (const char* name : {"/failed-report.json", "/failed-report.html"}) {
      std::error_code ignored;
      std::filesystem::remove(directory + name, ignored);
    }
  }
  return absl::StrCat(directory, "/", stem);
}

absl::StatusOr<std::string> submit(Client& client, const v1::TrainJob& job) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  LACONIC_ASSIGN_OR_RETURN(*request.mutable_request_id(), new_request_id());
  LACONIC_ASSIGN_OR_RETURN(const v1::CreateJobResponse response, client.create_job(request));
  return response.job().id();
}

// Ends the job and waits for its final state; a second Ctrl-C ends the waiting.
absl::StatusOr<v1::Job> cancel_and_follow(Session& session, Client& client, const std::string& id) {
  session.note("interrupted: ending the job; Ctrl-C again to kill it");
  LACONIC_RETURN_IF_ERROR(client.cancel_job(id).status());
  FollowOptions options;
  options.deadline = absl::Now() + kCancelDeadline;
  return follow_job(client, id, options);
}

absl::StatusOr<v1::Job> train(Session& session, LocalCluster& cluster, Client& client,
                              const v1::TrainJob& job) {
  LACONIC_ASSIGN_OR_RETURN(const std::string id, submit(client, job));
  ProgressDisplay display(session);
  FollowOptions options;
  options.update = [&](const v1::Job& now, const v1::Job&) { display.show(now, absl::Now()); };
  options.tick = [&](const v1::Job& now) {
    if (now.state() != v1::JOB_STATE_UNSPECIFIED) {
      display.show(now, absl::Now());
    }
    return cluster.check();
  };
  absl::StatusOr<v1::Job> ended = follow_job(client, id, options);
  display.end_line();
  if (absl::IsCancelled(ended.status())) {
    ended = cancel_and_follow(session, client, id);
  }
  if (absl::IsUnavailable(ended.status())) {
    // The server is our own: how it died says more than that it cannot be reached.
    LACONIC_RETURN_IF_ERROR(cluster.check());
  }
  return ended;
}

absl::StatusOr<Ended> run_cluster(Session& session, const v1::TrainJob& job,
                                  const std::string& directory) {
  const ClusterOptions options{
      .bin_directory = std::filesystem::path(session.console.executable).parent_path().string(),
      .directory = directory,
      .slots = ranks_wanted(job)};
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<LocalCluster> cluster,
                           LocalCluster::start(options, session.console.interrupt));
  Client client(cluster->address(), session.timeout, session.console.interrupt);
  Ended ended;
  LACONIC_ASSIGN_OR_RETURN(ended.job, train(session, *cluster, client, job));
  // A full disk must not cost the summary: the model may be the last thing that fitted.
  ended.report = write_run_report(ended.job, directory);
  cluster->stop();
  return ended;
}

int print_end(Session& session, const Ended& ended, const std::string& directory) {
  const std::string html = ended.report.ok() ? *ended.report + ".html" : "not written";
  if (session.json() && !ended.report.ok()) {
    return session.fail(ended.report.status());
  }
  if (session.json()) {
    session.write_json(json_message(ended.job));
  } else if (ended.job.state() == v1::SUCCEEDED) {
    session.console.out << summary_text(ended.job, html) << std::flush;
  } else {
    session.console.out << failure_text(ended.job) << "  logs      " << directory << "/server/logs/"
                        << ended.job.id() << "\n  report    " << html << "\n"
                        << std::flush;
  }
  const int code =
      ended.report.ok() ? exit_code_of(ended.job.state()) : session.fail(ended.report.status());
  return session.console.interrupt.count() > 0 ? static_cast<int>(core::kExitInterrupted) : code;
}

int run(Session& session, const RunOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (options.workers) {
    overrides.push_back(absl::StrCat("spec.workers.count=", *options.workers));
  }
  absl::StatusOr<v1::TrainJob> job = load_job_file(options.file, overrides);
  if (!job.ok()) {
    return session.fail_usage(job.status());
  }
  const std::string shown =
      options.directory.empty() ? "runs/" + job->metadata().name() : options.directory;
  const std::string directory = std::filesystem::absolute(shown).lexically_normal().string();
  if (const absl::Status status = make_writable_directory(directory); !status.ok()) {
    return session.fail(status);
  }
  if (job->spec().result().directory().empty()) {
    job->mutable_spec()->mutable_result()->set_directory(directory);
  }
  // A closed pipe on our output must not kill us before the trainers are ended.
  std::signal(SIGPIPE, SIG_IGN);
  const absl::StatusOr<Ended> ended = run_cluster(session, *job, directory);
  if (!ended.ok()) {
    const int code = session.fail(ended.status());
    return session.console.interrupt.count() > 0 ? static_cast<int>(core::kExitInterrupted) : code;
  }
  return print_end(session, *ended, directory);
}

}  // namespace

void add_run(CLI::App& app, Session& session) {
  CLI::App* command = add_command(
      app, "run", "Train a job on this machine: starts server, worker and trainers, and stops them",
      "laconic run -f examples/fashion_mnist.yaml --workers 4 --out runs/fashion");
  auto options = std::make_shared<RunOptions>();
  command->add_option("-f,--file", options->file, "Job file: YAML, .json or .textproto")
      ->required()
      ->type_name("FILE");
  command->add_option("--workers", options->workers, "Ranks. Default: what the job file says")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--set", options->overrides, "Replace a field: spec.train.steps=10 (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--out", options->directory,
                   "Where model, report and logs go. Default: runs/NAME-OF-THE-JOB")
      ->type_name("DIR");
  command->callback([&session, options] {
    session.action = [&session, options] { return run(session, *options); };
  });
}

}  // namespace laconic::cli
