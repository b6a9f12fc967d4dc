#include "tests/testing/convex_runs.h"

#include <thread>

#include "absl/time/time.h"
#include "common/collective/communicator.h"
#include "common/collective/in_process_transport.h"

namespace laconic::testing {
namespace {

// Far beyond what any operation takes, so that only a hang meets it.
constexpr absl::Duration kDeadline = absl::Seconds(60);

using Transports = std::vector<std::unique_ptr<collective::Transport>>;

struct Run {
  const QuadraticProblem& problem;
  const MakeMethod& make;
  const RunOptions& options;
  std::vector<double> start;
  std::vector<std::vector<double>> solutions;  // [workers]
  RunResult result;
};

absl::Status iterate(Run& run, int rank, convex::Method& method) {
  for (int iteration = 1; iteration <= run.options.iterations_max; ++iteration) {
    if (absl::Status status = method.iterate(); !status.ok()) {
      return status;
    }
    const double gap = run.problem.relative_gap(method.solution());
    if (rank == 0) {
      run.options.observe(method);
      run.result.iterations = iteration;
      run.result.gap = gap;
    }
    if (gap <= run.options.gap) {  // All see the same solution, so all stop here.
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status run_rank(Run& run, int rank, collective::Transport& transport) {
  const auto r = static_cast<size_t>(rank);
  collective::Communicator communicator(transport, /*generation=*/1, kDeadline);
  const auto objective = run.problem.objective(rank);
  auto method = run.make(communicator, *objective, run.start);
  if (!method.ok()) {
    return method.status();
  }
  if (run.options.saved != nullptr && !(*run.options.saved)[r].empty()) {
    if (absl::Status status = (*method)->restore((*run.options.saved)[r]); !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = iterate(run, rank, **method); !status.ok()) {
    return status;
  }
  if (run.options.saved != nullptr) {
    (*run.options.saved)[r] = (*method)->save();
  }
  run.solutions[r].assign((*method)->solution().begin(), (*method)->solution().end());
  if (rank == 0) {
    run.result.report = (*method)->report();
  }
  if (rank == run.problem.workers() - 1) {
    run.result.worker = (*method)->traffic();
    run.result.frame_bytes = communicator.bytes().sent + communicator.bytes().received;
  }
  return absl::OkStatus();
}

}  // namespace

RunResult run_method(const QuadraticProblem& problem, const MakeMethod& make,
                     const RunOptions& options) {
  const int workers = problem.workers();
  Transports own;
  if (options.transports == nullptr) {
    collective::InProcessNetwork network(workers);
    for (int rank = 0; rank < workers; ++rank) {
      own.push_back(network.endpoint(rank));
    }
  }
  Transports& transports = options.transports == nullptr ? own : *options.transports;
  if (options.saved != nullptr) {
    options.saved->resize(static_cast<size_t>(workers));
  }
  Run run{problem, make, options, options.start, {}, {}};
  run.start.resize(static_cast<size_t>(problem.dimension()));
  run.solutions.resize(static_cast<size_t>(workers));
  std::vector<absl::Status> statuses(static_cast<size_t>(workers));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < workers; ++rank) {
    threads.emplace_back([&, rank] {
      const auto r = static_cast<size_t>(rank);
      statuses[r] = run_rank(run, rank, *transports[r]);
      if (!statuses[r].ok()) {  // The others would wait for it.
        for (const auto& transport : transports) {
          transport->abort(absl::AbortedError("another rank failed"));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  RunResult result = std::move(run.result);
  for (const absl::Status& status : statuses) {
    if (!status.ok() && (result.status.ok() || absl::IsAborted(result.status))) {
      result.status = status;
    }
  }
  for (const std::vector<double>& solution : run.solutions) {
    result.identical = result.identical && solution == run.solutions[0];
  }
  result.solution = run.solutions[0];
  return result;
}

}  // namespace laconic::testing
