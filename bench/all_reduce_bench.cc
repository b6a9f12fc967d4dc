// Means over ranks, one process each, against gloo's ring in the same processes;
// docs/benchmarks.md.
//
//   all_reduce_bench [--ranks N,N..] [--elements N] [--repetitions N] [--methods NAME,NAME..]
//       [--namespaces RATE | --proxy RATE [--delay-ms N]] [--json FILE]
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
#include "absl/strings/str_join.h"
#include "bench/all_reduce_rank.h"
#include "bench/gloo_peer.h"
#include "bench/namespaces.h"
#include "bench/report.h"
#include "common/core/status_macros.h"

namespace laconic::bench {
namespace {

struct Options {
  RankOptions rank;
  std::vector<int> worlds = {4};
  std::string rate;        // of the links between namespaces; empty: loopback
  std::string proxy_rate;  // of the proxy in front of every rank; empty: none
  int delay_ms = 20;       // of the proxy
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
          std::string("--directory"), options.directory, std::string("--proxy-bits-per-s"),
          absl::StrCat(options.proxy_bits_per_s), std::string("--proxy-delay-s"),
          absl::StrCat(options.proxy_delay_s)}) {
      arguments.push_back(argument);
    }
    if (!options.methods.empty()) {
      arguments.push_back("--methods");
      arguments.push_back(absl::StrJoin(options.methods, ","));
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
  const std::string link = !options.rate.empty() ? options.rate + "_"
                           : !options.proxy_rate.empty()
                               ? absl::StrCat(options.proxy_rate, "_", options.delay_ms, "ms_")
                               : "";
  return absl::StrCat("all_reduce_", size, "_p", options.rank.world_size, "_", link);
}

double bits_per_s(const std::string& rate) {
  return rate == "1gbit" ? 1e9 : 1e8;
}

// Seconds of a dense ring on links that do nothing else, and without any computing; 0 on loopback.
double ideal_ring_seconds(const Options& options, double ring_bytes) {
  const double messages = 2.0 * (options.rank.world_size - 1);
  return !options.rate.empty() ? 8 * ring_bytes / bits_per_s(options.rate)
         : !options.proxy_rate.empty()
             ? 8 * ring_bytes / bits_per_s(options.proxy_rate) + messages * 1e-3 * options.delay_ms
             : 0;
}

void add_rows(const Options& options, std::map<std::string, MethodSamples>& samples,
              Report& report) {
  const std::string prefix = prefix_of(options);
  const double ranks = options.rank.world_size;
  Samples ring_bytes;
  ring_bytes.add(2 * (ranks - 1) / ranks * 4 * static_cast<double>(options.rank.elements));
  Samples ideal;
  ideal.add(ideal_ring_seconds(options, ring_bytes.median()));
  for (const auto& [method, ours] : samples) {
    if (ideal.median() > 0) {
      report.add(prefix + method, ours.seconds, "s", "ideal_dense_ring", ideal);
    }
    if (method != "gloo_ring" && samples.contains("gloo_ring")) {
      report.add(prefix + method, ours.seconds, "s", "gloo_ring", samples["gloo_ring"].seconds);
      report.add(prefix + method + "_cpu", ours.cpu_seconds, "CPU_s", "gloo_ring",
                 samples["gloo_ring"].cpu_seconds);
    } else if (ideal.median() == 0) {
      report.add(prefix + method, ours.seconds, "s");
    }
    if (method == "planned" && samples.contains("dense")) {
      report.add(prefix + method, ours.seconds, "s", "dense", samples["dense"].seconds);
    }
    if (method != "gloo_ring") {
      report.add(prefix + method + "_sent", ours.bytes_sent, "bytes", "dense_ring", ring_bytes);
    }
  }
}

// What one world measured, into `report`.
absl::Status run_world(Options options, Report& report) {
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
  add_rows(options, *samples, report);
  return absl::OkStatus();
}

std::string links_of(const Options& options) {
  return !options.rate.empty() ? "namespaces, tbf " + options.rate
         : !options.proxy_rate.empty()
             ? absl::StrCat("a proxy in front of every rank, ", options.proxy_rate, " and ",
                            options.delay_ms, " ms each way")
             : "loopback";
}

absl::Status run_all(Options options) {
  signal(SIGINT, SIG_IGN);  // The ranks end, then this process tidies up.
  if (!has_gloo()) {
    std::cerr << "built without gloo (Debian: libgloo-dev): there is no peer to compare with\n";
  }
  Report report;
  report.set("ranks", absl::StrJoin(options.worlds, ", "));
  report.set("elements", absl::StrCat(options.rank.elements));
  report.set("repetitions", absl::StrCat(options.rank.repetitions));
  report.set("links", links_of(options));
  report.set("clock", "wall, slowest rank from a barrier on");
  for (const int world_size : options.worlds) {
    options.rank.world_size = world_size;
    LACONIC_RETURN_IF_ERROR(run_world(options, report));
  }
  return report.finish(options.json);
}

// Links of which a 100 MB vector takes seconds, not milliseconds.
bool has_thin_links(const Options& options) {
  return !options.rate.empty() || !options.proxy_rate.empty();
}

absl::Status run_program(Options options) {
  if (options.rank.rank >= 0) {
    options.rank.world_size = options.worlds.front();
    return run_rank(options.rank);
  }
  if (!options.proxy_rate.empty()) {
    options.rank.proxy_bits_per_s = bits_per_s(options.proxy_rate);
    options.rank.proxy_delay_s = 1e-3 * options.delay_ms;
  }
  return run_all(std::move(options));
}

void add_flags(CLI::App& app, Options& options) {
  app.add_option("--ranks", options.worlds, "processes; several: one world after the other")
      ->delimiter(',')
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  app.add_option("--repetitions", options.rank.repetitions, "measured rounds of each method")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--methods", options.rank.methods, "only these")
      ->delimiter(',')
      ->check(CLI::IsMember(method_names()));
  auto* namespaces =
      app.add_option("--namespaces", options.rate,
                     "as root: a network namespace for each rank, behind a link of this rate")
          ->check(CLI::IsMember({"1gbit", "100mbit"}));
  app.add_option("--proxy", options.proxy_rate,
                 "a proxy in front of each rank: this rate, and --delay-ms, each way")
      ->check(CLI::IsMember({"1gbit", "100mbit"}))
      ->excludes(namespaces);
  app.add_option("--delay-ms", options.delay_ms, "time a byte is under way in the proxy")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--json", options.json, "file to write the report to");
  const std::string internal_help =
      "internal: which rank this process is, and where the others are";
  app.add_option("--rank", options.rank.rank, internal_help)->group("");
  app.add_option("--host", options.rank.host, internal_help)->group("");
  app.add_option("--directory", options.rank.directory, internal_help)->group("");
  app.add_option("--proxy-bits-per-s", options.rank.proxy_bits_per_s, internal_help)->group("");
  app.add_option("--proxy-delay-s", options.rank.proxy_delay_s, internal_help)->group("");
}

}  // namespace
}  // namespace laconic::bench

int main(int argc, char** argv) {
  laconic::bench::Options options;
  CLI::App app("Measures means over ranks, one process each, against gloo's ring.");
  auto* elements = app.add_option("--elements", options.rank.elements,
                                  "float32 elements of the vector; 25,600,000 over thin links")
                       ->check(CLI::Range(int64_t{4096}, int64_t{1} << 30))
                       ->capture_default_str();
  laconic::bench::add_flags(app, options);
  CLI11_PARSE(app, argc, argv);
  if (laconic::bench::has_thin_links(options) && elements->count() == 0) {
    options.rank.elements = 25'600'000;
  }
  const absl::Status status = laconic::bench::run_program(options);
  if (!status.ok()) {
    std::cerr << "all_reduce_bench: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
