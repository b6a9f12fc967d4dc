// laconic-trainer: one rank of one job, started by laconic-worker.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/exit_codes.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/run_rank.h"
#include "worker/trainer/stop_signal.h"
#include "worker/trainer/worker_link.h"

namespace {

using laconic::trainer::RankOptions;
using laconic::trainer::StopSignal;
using laconic::trainer::WorkerLink;

// A node that stands still for a while must not cost a run its last report.
constexpr absl::Duration kFinishTimeout = absl::Seconds(60);

struct Flags {
  RankOptions rank;
  std::string worker;
};

void add_flags(CLI::App& app, Flags& flags) {
  app.add_option("--job", flags.rank.job_file, "File with the job: a binary laconic.v1.TrainJob")
      ->required();
  app.add_option("--job-id", flags.rank.job_id, "Id of the job")->required();
  app.add_option("--rank", flags.rank.world.rank, "This rank, 0..world size - 1")->required();
  app.add_option("--world-size", flags.rank.world.world_size, "Ranks of the job, 1..1024")
      ->required()
      ->check(CLI::Range(1, 1024));
  app.add_option("--worker", flags.worker, "Socket of the worker: unix:PATH")->required();
  app.add_option("--peer-host", flags.rank.peer_host,
                 "Address of this node under which other ranks reach it")
      ->required();
  app.add_option("--directory", flags.rank.directory, "Directory of this rank alone")->required();
  app.set_version_flag("--version", LACONIC_VERSION);
  app.footer(
      "Started by laconic-worker, which sets LACONIC_TASK_TOKEN and LACONIC_PEER_TOKEN.\n"
      "Exit codes: 0 trained to the end, 1 failed (the report says why), 2 wrong command line,\n"
      "75 another rank is the cause.");
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): no thread runs yet.
  return value == nullptr ? "" : value;
}

int run(const Flags& flags, const std::string& task_token) {
  const auto stop = std::make_shared<StopSignal>();
  laconic::trainer::stop_on_signals(stop);
  const auto link = std::make_shared<WorkerLink>(flags.worker, task_token, stop);
  absl::StatusOr<laconic::v1::Finished> finished =
      laconic::trainer::guarded_run_rank(flags.rank, link, stop);
  stop->set_listener(nullptr);
  laconic::v1::TrainerReport report;
  if (finished.ok()) {
    *report.mutable_finished() = *std::move(finished);
  } else {
    spdlog::error("{}", std::string(finished.status().message()));
    *report.mutable_failure() = laconic::trainer::to_report(finished.status());
  }
  const int code = laconic::trainer::exit_code(finished.status());
  if (!laconic::trainer::is_stop(finished.status())) {
    link->report(std::move(report));
    const absl::Status delivered = link->finish(absl::Now() + kFinishTimeout);
    if (!delivered.ok()) {
      spdlog::warn("the worker may have missed the last report: {}",
                   std::string(delivered.message()));
    }
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Trains one rank of a laconic job.", "laconic-trainer");
  add_flags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : laconic::core::kTrainerUsage;
  }
  flags.rank.peer_token = environment("LACONIC_PEER_TOKEN");
  const std::string task_token = environment("LACONIC_TASK_TOKEN");
  if (flags.rank.world.rank < 0 || flags.rank.world.rank >= flags.rank.world.world_size ||
      flags.rank.peer_token.empty() || task_token.empty()) {
    fprintf(stderr,
            "laconic-trainer: --rank must be in 0..world size - 1, and "
            "LACONIC_TASK_TOKEN and LACONIC_PEER_TOKEN must be set\n");
    return laconic::core::kTrainerUsage;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_mt("trainer"));
  spdlog::set_pattern(absl::StrCat("%Y-%m-%dT%H:%M:%S.%e %l job=", flags.rank.job_id,
                                   " rank=", flags.rank.world.rank, " %v"));
  return run(flags, task_token);
}
