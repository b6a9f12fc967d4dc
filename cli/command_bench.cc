// bench link: measures the links of a job's workers and shows what the planner would choose.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/job_file.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/local_cluster.h"
#include "cli/plan_text.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "common/core/exit_codes.h"
#include "common/core/format.h"
#include "common/core/status_macros.h"

namespace laconic::cli {
namespace {

// How long trainers get to end after Ctrl-C.
constexpr absl::Duration kCancelDeadline = absl::Seconds(10);
constexpr size_t kNameMax = 63;  // Of a job: wire::check_job().

struct LinkOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::optional<int> ranks;
  std::optional<double> error_budget;
  bool local = false;
};

// Below the system's directory for temporary files; goes away with the object.
class ScratchDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchDirectory>> make() {
    std::string name =
        (std::filesystem::temp_directory_path() / "laconic-bench-link-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      return absl::UnavailableError(absl::StrCat(name, " cannot be made: is the disk full?"));
    }
    return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(name));
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// The same job up to its first exchange: same workers, data and model, nothing trained or written.
v1::TrainJob probe_of(v1::TrainJob job, std::optional<double> error_budget) {
  std::string& name = *job.mutable_metadata()->mutable_name();
  name = name.substr(0, kNameMax - 5) + "-link";
  job.mutable_spec()->mutable_result()->clear_directory();
  v1::Exchange& exchange = *job.mutable_spec()->mutable_exchange();
  if (!exchange.compressor().has_auto_()) {
    exchange.clear_compressor();
    exchange.set_schedule(v1::AUTO);  // not unset, which a preset would fill in
  }
  if (exchange.has_auto_()) {
    exchange.mutable_dense();  // a method that chooses its compressor takes none from the job
  }
  v1::Auto& planned = *exchange.mutable_compressor()->mutable_auto_();
  planned.set_measure_only(true);
  if (error_budget) {
    planned.set_error_budget(*error_budget);
  }
  return job;
}

// The job in its final state. cluster: our own, null where the server is somebody else's.
absl::StatusOr<v1::Job> measure(Session& session, Client& client, const v1::TrainJob& job,
                                LocalCluster* cluster) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  LACONIC_ASSIGN_OR_RETURN(*request.mutable_request_id(), new_request_id());
  LACONIC_ASSIGN_OR_RETURN(const v1::CreateJobResponse response, client.create_job(request));
  const std::string id = response.job().id();
  ProgressDisplay display(session);
  FollowOptions follow;
  follow.update = [&](const v1::Job& now, const v1::Job&) { display.show(now, absl::Now()); };
  follow.tick = [&](const v1::Job&) {
    return cluster == nullptr ? absl::OkStatus() : cluster->check();
  };
  absl::StatusOr<v1::Job> ended = follow_job(client, id, follow);
  display.end_line();
  if (absl::IsCancelled(ended.status())) {
    session.note("interrupted: ending the measurement");
    LACONIC_RETURN_IF_ERROR(client.cancel_job(id).status());
    FollowOptions until_gone;
    until_gone.deadline = absl::Now() + kCancelDeadline;
    ended = follow_job(client, id, until_gone);
  }
  if (ended.ok() && ended->state() == v1::SUCCEEDED) {
    // A measurement is no job to keep; one that failed stays, with its logs.
    if (const auto deleted = client.delete_job(id); !deleted.ok()) {
      session.note(absl::StrCat(
          "job ", id, " stays in the list of jobs: ", std::string(deleted.status().message())));
    }
  }
  return ended;
}

absl::StatusOr<v1::Job> measure_here(Session& session, const v1::TrainJob& job) {
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<ScratchDirectory> scratch,
                           ScratchDirectory::make());
  const ClusterOptions options{
      .bin_directory = std::filesystem::path(session.console.executable).parent_path().string(),
      .directory = scratch->path(),
      .slots = ranks_wanted(job)};
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<LocalCluster> cluster,
                           LocalCluster::start(options, session.console.interrupt));
  Client client(cluster->address(), session.timeout, session.console.interrupt);
  absl::StatusOr<v1::Job> ended = measure(session, client, job, cluster.get());
  cluster->stop();
  return ended;
}

void show(Session& session, const v1::Job& job) {
  const v1::ExchangeChoice exchange = exchange_of(job);
  if (!exchange.has_plan()) {
    session.console.out << "one rank: nothing is sent, nothing was measured\n";
    return;
  }
  session.console.out << job.ranks_size() << " ranks, "
                      << core::format_count(job.ranks(0).hello().parameters())
                      << " parameters; slowest link: " << link_text(exchange.plan())
                      << " each way\nchosen: " << exchange_text(exchange) << " (*), error budget "
                      << exchange.plan().error_budget() << "; predicted seconds of one exchange:\n"
                      << format_table(plan_rows(exchange.plan())) << std::flush;
}

int print_end(Session& session, const v1::Job& job) {
  if (job.state() != v1::SUCCEEDED) {
    if (session.json()) {
      session.write_json(json_message(job));
    } else {
      session.console.err << failure_text(job) << std::flush;
    }
  } else if (session.json()) {
    session.write_json(absl::StrCat("{\"ranks\": ", job.ranks_size(),
                                    ", \"parameters\": ", job.ranks(0).hello().parameters(),
                                    ", \"exchange\": ", exchange_json(exchange_of(job)), "}"));
  } else {
    show(session, job);
  }
  return session.console.interrupt.count() > 0 ? static_cast<int>(core::kExitInterrupted)
                                               : exit_code_of(job.state());
}

int bench_link(Session& session, const LinkOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (options.ranks) {
    overrides.push_back(absl::StrCat("spec.workers.count=", *options.ranks));
  }
  const absl::StatusOr<v1::TrainJob> job = load_job_file(options.file, overrides);
  if (!job.ok()) {
    return session.fail_usage(job.status());
  }
  const v1::TrainJob probe = probe_of(*job, options.error_budget);
  absl::StatusOr<v1::Job> ended;
  if (options.local) {
    ended = measure_here(session, probe);
  } else {
    Client client = session.connect();
    ended = measure(session, client, probe, nullptr);
  }
  return ended.ok() ? print_end(session, *ended) : session.fail(ended.status());
}

}  // namespace

void add_bench(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "bench", "Measure", "laconic bench link -f job.yaml");
  command->require_subcommand(1);
  CLI::App* link = add_command(
      *command, "link",
      "Measure the links between a job's workers; show what compressor auto would choose",
      "laconic bench link -f examples/fashion_mnist.yaml --ranks 2 --local");
  auto options = std::make_shared<LinkOptions>();
  link->add_option("-f,--file", options->file, "Job file: YAML, .json or .textproto")
      ->required()
      ->type_name("FILE");
  link->add_option("--ranks", options->ranks, "Ranks. Default: what the job file says")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  link->add_option("--error-budget", options->error_budget,
                   "Largest error of the mean. Default: the job's, or 0.05")
      ->type_name("X")
      ->check(CLI::Range(1e-12, 2.0));
  link->add_option("--set", options->overrides,
                   "Replace a field: spec.model.mlp.hidden=[512] (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  link->add_flag("--local", options->local,
                 "On this machine, with a server and a worker of its own. Default: on the workers "
                 "of --server");
  link->callback([&session, options] {
    session.action = [&session, options] { return bench_link(session, *options); };
  });
}

}  // namespace laconic::cli
