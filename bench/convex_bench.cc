// Convex methods on problems with known constants, until (f(y) - f*) / (f(0) - f*) <= gap: payload
// that one worker sends and receives, in dense float32 vectors. All workers run in this process;
// what is counted are bytes, not seconds. docs/benchmarks.md, docs/algorithms.md.
//
//   convex_bench [--gap G] [--seeds N] [--json FILE]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "bench/contest.h"
#include "bench/report.h"
#include "common/convex/aeg.h"
#include "common/convex/descent.h"
#include "common/convex/olga.h"
#include "tests/testing/convex_runs.h"

namespace laconic::bench {
namespace {

using convex::AegOptions;
using convex::DescentKind;
using convex::DescentOptions;
using convex::OlgaOptions;
using laconic::testing::MakeMethod;
using laconic::testing::QuadraticProblem;
using laconic::testing::RunResult;

// Inner rounds where every message has 4 bits a value: 2 to 5 send about equally much.
constexpr int64_t kRoundsOfFewBits = 3;
// A method that takes more is left out.
constexpr int kIterationsMax = 2500;

struct Settings {
  double gap = 1e-9;
  int seeds = 3;
};

template <typename MethodType, typename Options>
MakeMethod maker(const Options& options) {
  return
      [options](collective::Communicator& communicator, convex::Objective& objective,
                std::span<const double> start) -> absl::StatusOr<std::unique_ptr<convex::Method>> {
        return MethodType::make(options, communicator, objective, start);
      };
}

// One problem and the messages that fit it.
struct Instance {
  std::string name;
  QuadraticProblem problem;
  int kept = 0;  // K of inner messages
  int kept_lossy =
      0;  // K where gathers and downlink are lossy too: cheap rounds want fewer of them
};

core::CodecSpec rand_k(const Instance& instance, int kept) {
  return {.kind = core::CodecKind::kRandK,
          .density = static_cast<double>(kept) / static_cast<double>(instance.problem.dimension()),
          .scaled = true};
}

struct Outcome {
  Samples iterations;
  Samples up;
  Samples down;
  Samples silent;  // share of the messages beside full gradients
  double total() const { return up.median() + down.median(); }
};

// `options` of any method has a seed. Not converged in some run: no samples.
template <typename MethodType, typename Options>
Outcome runs(const Settings& settings, const Instance& instance, Options options) {
  Outcome outcome;
  for (int seed = 1; seed <= settings.seeds; ++seed) {
    options.seed = static_cast<uint64_t>(seed);
    const RunResult result = run_method(instance.problem, maker<MethodType>(options),
                                        {.iterations_max = kIterationsMax, .gap = settings.gap});
    if (!result.status.ok() || result.gap > settings.gap) {
      return {};
    }
    require(result.identical, "workers ended with different bits");
    outcome.iterations.add(result.iterations);
    outcome.up.add(result.up());
    outcome.down.add(result.down());
    const double messages =
        static_cast<double>(result.worker.up_messages + result.worker.skipped_messages);
    outcome.silent.add(static_cast<double>(result.worker.skipped_messages) /
                       std::max(1.0, messages - 2.0 * result.iterations));
  }
  return outcome;
}

Outcome best_aeg(const Settings& settings, const Instance& instance) {
  Outcome best;
  for (const double scale : {1.0, 0.7, 0.5, 0.35}) {
    AegOptions options{.convexity = instance.problem.convexity(),
                       .similarity = scale * instance.problem.similarity()};
    Outcome outcome = runs<convex::Aeg>(settings, instance, options);
    if (!outcome.up.values.empty() &&
        (best.up.values.empty() || outcome.up.median() < best.up.median())) {
      best = outcome;
    }
  }
  return best;
}

OlgaOptions olga(const Instance& instance, int kept) {
  return {.convexity = instance.problem.convexity(),
          .similarity = instance.problem.similarity(),
          .inner = rand_k(instance, kept)};
}

void add(Report& report, const Instance& instance, const std::string& method,
         const Outcome& outcome, const Outcome& aeg) {
  const std::string name = absl::StrCat(instance.name, "_", method);
  if (outcome.up.values.empty()) {
    std::cerr << name << " did not converge\n";
    return;
  }
  report.add(absl::StrCat(name, "_iterations"), outcome.iterations, "iterations");
  report.add(absl::StrCat(name, "_up"), outcome.up, "vectors", "aeg_tuned", aeg.up);
  report.add(absl::StrCat(name, "_down"), outcome.down, "vectors", "aeg_tuned", aeg.down);
  Row total;
  total.name = absl::StrCat(name, "_up_and_down");
  total.value = outcome.total();
  total.unit = "vectors";
  total.peer = "aeg_tuned";
  total.peer_value = aeg.total();
  report.add(total);
}

void add_olga_rows(const Settings& settings, const Instance& instance, const Outcome& aeg,
                   Report& report) {
  OlgaOptions options = olga(instance, instance.kept);
  const Outcome tuned = runs<convex::Olga>(settings, instance, options);
  add(report, instance, "olga", tuned, aeg);

  OlgaOptions adapted = options;
  adapted.similarity /= 100;
  adapted.adapt_similarity = true;
  add(report, instance, "olga_delta_100_times_too_small",
      runs<convex::Olga>(settings, instance, adapted), aeg);

  OlgaOptions lossy = olga(instance, instance.kept_lossy);
  lossy.gather = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 256};
  lossy.downlink = lossy.gather;
  add(report, instance, "olga_4bit_gathers_and_downlink",
      runs<convex::Olga>(settings, instance, lossy), aeg);
  lossy.inner = lossy.gather;
  lossy.inner.stochastic = true;
  lossy.rounds = kRoundsOfFewBits;
  add(report, instance, "olga_all_4bit", runs<convex::Olga>(settings, instance, lossy), aeg);

  OlgaOptions ef = options;
  ef.inner = {.kind = core::CodecKind::kTopK,
              .bits = 32,
              .density = rand_k(instance, 2 * instance.kept).density};
  ef.error_feedback = true;
  ef.scale = 0.25;
  add(report, instance, "ef_olga_top_k", runs<convex::Olga>(settings, instance, ef), aeg);
  ef.lazy = 3;
  const Outcome lazy = runs<convex::Olga>(settings, instance, ef);
  add(report, instance, "ef_olga_lazy", lazy, aeg);
  report.add(absl::StrCat(instance.name, "_ef_olga_lazy_silent"), lazy.silent, "share");
}

void add_descent_rows(const Settings& settings, const Instance& instance, const Outcome& aeg,
                      Report& report) {
  const double step = 1 / instance.problem.smoothness();
  const double root = std::sqrt(instance.problem.smoothness() / instance.problem.convexity());
  add(report, instance, "gd",
      runs<convex::Descent>(settings, instance,
                            DescentOptions{.kind = DescentKind::kGd, .step = step}),
      aeg);
  add(report, instance, "agd",
      runs<convex::Descent>(
          settings, instance,
          DescentOptions{
              .kind = DescentKind::kAgd, .step = step, .momentum = (root - 1) / (root + 1)}),
      aeg);
  const double omega = static_cast<double>(instance.problem.dimension()) / instance.kept - 1;
  add(report, instance, "diana",
      runs<convex::Descent>(
          settings, instance,
          DescentOptions{.kind = DescentKind::kDiana,
                         .step = step / (1 + 4 * omega / instance.problem.workers()),
                         .codec = rand_k(instance, instance.kept)}),
      aeg);
  add(report, instance, "marina",
      runs<convex::Descent>(settings, instance,
                            DescentOptions{.kind = DescentKind::kMarina,
                                           .step = step / 2,
                                           .codec = rand_k(instance, instance.kept)}),
      aeg);
  core::CodecSpec top = rand_k(instance, instance.kept);
  top.kind = core::CodecKind::kTopK;
  top.bits = 32;
  add(report, instance, "ef21",
      runs<convex::Descent>(
          settings, instance,
          DescentOptions{.kind = DescentKind::kEf21, .step = step / 4, .codec = top}),
      aeg);
  const Outcome laq = runs<convex::Descent>(
      settings, instance,
      DescentOptions{.kind = DescentKind::kLaq,
                     .step = step,
                     .codec = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 256}});
  add(report, instance, "laq_8bit", laq, aeg);
}

void add_instance(const Settings& settings, const Instance& instance, Report& report) {
  report.set(absl::StrCat(instance.name, "_d"), absl::StrCat(instance.problem.dimension()));
  report.set(absl::StrCat(instance.name, "_workers"), absl::StrCat(instance.problem.workers()));
  report.set(absl::StrCat(instance.name, "_mu_L_delta"),
             absl::StrCat(instance.problem.convexity(), " ", instance.problem.smoothness(), " ",
                          instance.problem.similarity()));
  const Outcome aeg = best_aeg(settings, instance);
  add(report, instance, "aeg_tuned", aeg, aeg);
  add_olga_rows(settings, instance, aeg, report);
  add_descent_rows(settings, instance, aeg, report);
}

}  // namespace
}  // namespace laconic::bench

int main(int argc, char** argv) {
  using laconic::bench::add_instance;
  using laconic::bench::Report;
  laconic::bench::Settings settings;
  std::string json;
  CLI::App app("Counts the bytes that convex methods take to a given accuracy.");
  app.add_option("--gap", settings.gap, "(f(y) - f*) / (f(0) - f*) to reach")
      ->check(CLI::Range(1e-12, 0.5))
      ->capture_default_str();
  app.add_option("--seeds", settings.seeds, "runs of each method")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--json", json, "file to write the report to");
  CLI11_PARSE(app, argc, argv);

  Report report;
  report.set("gap", absl::StrCat(settings.gap));
  report.set("seeds", absl::StrCat(settings.seeds));
  using laconic::testing::random_quadratic;
  using laconic::testing::ridge_like_a9a;
  add_instance(settings, {"A", random_quadratic(100, 25, 0.01, 1, 0.05, 1), 10, 20}, report);
  add_instance(settings, {"B", random_quadratic(60, 100, 0.002, 1, 0.1, 1), 6, 12}, report);
  add_instance(settings, {"C", ridge_like_a9a(100, 325, 1), 12, 24}, report);
  if (const absl::Status status = report.finish(json); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
