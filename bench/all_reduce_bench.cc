// Means over ranks, one process each, against gloo's ring in the same processes;
// docs/benchmarks.md.
//
//   all_reduce_bench [--ranks N] [--elements N] [--repetitions N] [--namespaces RATE] [--json FILE]
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/all_reduce_rank.h"
#include "bench/namespaces.h"
#include "bench/report.h"
#include "common/core/status_macros.h"

namespace laconic::bench {
namespace {

struct Options {
  RankOptions rank;
  std::string rate;  // of the links between namespaces; empty: loopback
  std::string json;
};

pid_t start(const std::vector<std::string>& arguments) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) {
    return pid;
  }
  signal(SIGINT, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    _exit(1);
  }
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

// Ends all when one fails.
absl::Status wait_for_all(std::vector<pid_t> running) {
  bool failed = false;
  while (!running.empty()) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, 0);
    std::erase(running, ended);
    if (status != 0 && !failed) {
      failed = true;
      std::for_each(running.begin(), running.end(), [](pid_t pid) { kill(pid, SIGKILL); });
    }
  }
  return failed ? absl::AbortedError("a rank failed; its message stands above") : absl::OkStatus();
}

absl::Status run_ranks(const RankOptions& options, const Namespaces* hosts) {
  std::vector<pid_t> running;
  for (int rank = 0; rank < options.world_size; ++rank) {
    std::vector<std::string> arguments;
    std::string address = options.host;
    if (hosts != nullptr) {
      arguments = hosts->prefix(rank);
      address = Namespaces::address(rank);
    }
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    for (const std::string& argument :
         {self, std::string("--rank"), absl::StrCat(rank), std::string("--ranks"),
          absl::StrCat(options.world_size), std::string("--elements"),
          absl::StrCat(options.elements), std::string("--repetitions"),
          absl::StrCat(options.repetitions), std::string("--host"), address,
          std::string("--directory"), options.directory}) {
      arguments.push_back(argument);
    }
    running.push_back(start(arguments));
  }
  return wait_for_all(std::move(running));
}

// Of one method: the slowest rank of each repetition, what all ranks together compute, and what a
// rank sends.
struct MethodSamples {
  Samples seconds;
  Samples cpu_seconds;
  Samples bytes_sent;
};

// Errors: DataLoss if ranks ended with different bits.
absl::StatusOr<std::map<std::string, MethodSamples>> collect(const RankOptions& options) {
  std::map<std::string, std::map<int, RankSample>> slowest;
  for (int rank = 0; rank < options.world_size; ++rank) {
    for (const RankSample& sample : read_samples(options.directory, rank)) {
      const auto [at, first] = slowest[sample.method].try_emplace(sample.repetition, sample);
      if (at->second.digest != sample.digest) {
        return absl::DataLossError(absl::StrCat(sample.method, ": rank ", rank,
                                                " has other bits than rank 0 in repetition ",
                                                sample.repetition));
      }
      at->second.seconds = std::max(at->second.seconds, sample.seconds);
      at->second.cpu_seconds += first ? 0 : sample.cpu_seconds;
      at->second.bytes_sent = std::max(at->second.bytes_sent, sample.bytes_sent);
    }
  }
  std::map<std::string, MethodSamples> result;
  for (const auto& [method, repetitions] : slowest) {
    for (const auto& [repetition, sample] : repetitions) {
      result[method].seconds.add(sample.seconds);
      result[method].cpu_seconds.add(sample.cpu_seconds);
      result[method].bytes_sent.add(static_cast<double>(sample.bytes_sent));
    }
  }
  return result;
}

std::string prefix_of(const Options& options) {
  const int64_t bytes = 4 * options.rank.elements;
  const std::string size = bytes % (1 << 20) == 0
                               ? absl::StrCat(bytes >> 20, "MiB")
                               : absl::StrFormat("%.4gM", 1e-6 * static_cast<double>(bytes / 4));
  const std::string link = options.rate.empty() ? "" : options.rate + "_";
  return absl::StrCat("all_reduce_", size, "_p", options.rank.world_size, "_", link);
}

void add_rows(const Options& options, std::map<std::string, MethodSamples>& samples,
              Report& report) {
  const std::string prefix = prefix_of(options);
  const double ranks = options.rank.world_size;
  const double ring_bytes =
      2 * (ranks - 1) / ranks * 4 * static_cast<double>(options.rank.elements);
  const double bits_per_s = options.rate == "1gbit" ? 1e9 : 1e8;
  for (const std::string& method : method_names()) {
    MethodSamples& ours = samples[method];
    if (method != "gloo_ring" && samples.contains("gloo_ring")) {
      report.add(prefix + method, ours.seconds, "s", "gloo_ring", samples["gloo_ring"].seconds);
    }
    if (method != "gloo_ring" && samples.contains("gloo_ring")) {
      report.add(prefix + method + "_cpu", ours.cpu_seconds, "CPU_s", "gloo_ring",
                 samples["gloo_ring"].cpu_seconds);
    }
    if (!options.rate.empty()) {
      Samples ideal;
      ideal.add(8 * ring_bytes / bits_per_s);
      report.add(prefix + method, ours.seconds, "s", "ideal_dense_ring", ideal);
    } else if (!samples.contains("gloo_ring")) {
      report.add(prefix + method, ours.seconds, "s");
    }
    if (method != "gloo_ring") {
      Samples ring;
      ring.add(ring_bytes);
      report.add(prefix + method + "_sent", ours.bytes_sent, "bytes", "dense_ring", ring);
    }
  }
}

absl::Status run_all(Options options) {
  signal(SIGINT, SIG_IGN);  // The ranks end, then this process tidies up.
  std::string name = (std::filesystem::temp_directory_path() / "laconic-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    return absl::UnavailableError(name + " cannot be made: is the disk full?");
  }
  options.rank.directory = name;
  std::unique_ptr<Namespaces> hosts;
  absl::Status status;
  if (!options.rate.empty()) {
    auto made = Namespaces::make(options.rank.world_size, options.rate);
    status = made.status();
    hosts = made.ok() ? *std::move(made) : nullptr;
  }
  if (status.ok()) {
    status = run_ranks(options.rank, hosts.get());
  }
  auto samples = collect(options.rank);
  std::filesystem::remove_all(name);
  LACONIC_RETURN_IF_ERROR(status);
  LACONIC_RETURN_IF_ERROR(samples.status());
  if (!samples->contains("gloo_ring")) {
    std::cerr << "built without gloo (Debian: libgloo-dev): there is no peer to compare with\n";
  }
  Report report;
  report.set("ranks", absl::StrCat(options.rank.world_size));
  report.set("elements", absl::StrCat(options.rank.elements));
  report.set("repetitions", absl::StrCat(options.rank.repetitions));
  report.set("links", options.rate.empty() ? "loopback" : "namespaces, tbf " + options.rate);
  report.set("clock", "wall, slowest rank from a barrier on");
  add_rows(options, *samples, report);
  return report.finish(options.json);
}

absl::Status run_program(Options options) {
  return options.rank.rank >= 0 ? run_rank(options.rank) : run_all(std::move(options));
}

}  // namespace
}  // namespace laconic::bench

int main(int argc, char** argv) {
  laconic::bench::Options options;
  CLI::App app("Measures means over ranks, one process each, against gloo's ring.");
  app.add_option("--ranks", options.rank.world_size, "processes")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  auto* elements = app.add_option("--elements", options.rank.elements,
                                  "float32 elements of the vector; 25,600,000 between namespaces")
                       ->check(CLI::Range(int64_t{4096}, int64_t{1} << 30))
                       ->capture_default_str();
  app.add_option("--repetitions", options.rank.repetitions, "measured rounds of each method")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--namespaces", options.rate,
                 "as root: a network namespace for each rank, behind a link of this rate")
      ->check(CLI::IsMember({"1gbit", "100mbit"}));
  app.add_option("--json", options.json, "file to write the report to");
  const std::string internal_help =
      "internal: which rank this process is, and where the others are";
  app.add_option("--rank", options.rank.rank, internal_help)->group("");
  app.add_option("--host", options.rank.host, internal_help)->group("");
  app.add_option("--directory", options.rank.directory, internal_help)->group("");
  CLI11_PARSE(app, argc, argv);
  if (!options.rate.empty() && elements->count() == 0) {
    options.rank.elements = 25'600'000;
  }
  const absl::Status status = laconic::bench::run_program(options);
  if (!status.ok()) {
    std::cerr << "all_reduce_bench: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
