// Runs a convex method on all workers of a problem, one thread each, until it is solved.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/transport.h"
#include "common/convex/method.h"
#include "tests/testing/convex_problems.h"

namespace laconic::testing {

using MakeMethod = std::function<absl::StatusOr<std::unique_ptr<convex::Method>>(
    collective::Communicator&, convex::Objective&, std::span<const double> start)>;

struct RunOptions {
  int iterations_max = 1000;
  double gap = 1e-9;  // (f(y) - f*) / (f(0) - f*) at which it stops
  // After each iteration, with rank 0's method.
  std::function<void(convex::Method&)> observe = [](convex::Method&) {};
  std::vector<double> start = {};  // empty: 0
  // [workers], or null: in one process. Not finished: each serves one run.
  std::vector<std::unique_ptr<collective::Transport>>* transports = nullptr;
  // [workers] or null: a state in it is gone on from, and the last one is put there.
  std::vector<std::vector<double>>* saved = nullptr;
};

struct RunResult {
  absl::Status status;  // the first error of any rank
  int iterations = 0;
  double gap = std::numeric_limits<double>::infinity();
  bool identical = true;           // all ranks held the same bits at the end
  std::vector<double> solution;    // of rank 0
  convex::Traffic worker;          // of the last rank
  convex::IterationReport report;  // of rank 0, the anchor, after the last iteration
  int64_t frame_bytes = 0;         // sent and received by the last rank

  // Payloads of one worker, in dense float32 vectors of the problem.
  double up() const { return static_cast<double>(worker.up_bytes) / vector_bytes(); }
  double down() const { return static_cast<double>(worker.down_bytes) / vector_bytes(); }
  double vector_bytes() const { return 4.0 * static_cast<double>(solution.size()); }
};

RunResult run_method(const QuadraticProblem& problem, const MakeMethod& make,
                     const RunOptions& options = {});

}  // namespace laconic::testing
