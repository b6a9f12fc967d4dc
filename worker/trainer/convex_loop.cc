#include "worker/trainer/convex_loop.h"

#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/codec_name.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"
#include "common/wire/job_spec.h"
#include "worker/trainer/convex_events.h"
#include "worker/trainer/convex_method.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/linear_objective.h"
#include "worker/trainer/run_meter.h"
#include "worker/trainer/training_loop.h"

namespace laconic::trainer {
namespace {

// What one run keeps from one iteration to the next.
struct Run {
  const ConvexParts& parts;
  const LoopOptions options;
  LinearObjective& objective;
  convex::Method& method;
  RunMeter& meter;
  absl::Duration iterating;        // Time of all iterations.
  int64_t prox_steps = 0;          // Of all iterations.
  double gradient_norm = 0;        // After the last one, on all ranks.
  std::optional<Evaluation> last;  // Of rank 0.

  const v1::Convex& spec() const { return parts.job.spec().exchange().convex(); }
  bool is_anchor() const { return parts.communicator.rank() == 0; }
  bool ends(int64_t step, double norm) const {
    return step == options.schedule.steps || (spec().has_tolerance() && norm <= spec().tolerance());
  }
  bool is_due(int64_t step) const { return step % options.eval_every_steps == 0; }
};

absl::Status failed(const ConvexParts& parts, int64_t step, const absl::Status& status) {
  // InvalidArgument: a number to send that is not finite.
  if (absl::IsOutOfRange(status) || absl::IsInvalidArgument(status)) {
    return failure(
        absl::StatusCode::kOutOfRange, kDiverged,
        absl::StrCat("iteration ", step, ": ", status.message(),
                     "; set spec.exchange.convex.similarity higher or step_scale lower"));
  }
  return exchange_failure(status, step, parts.communicator.failed_rank());
}

v1::ExchangeChoice choice_of(const v1::TrainJob& job) {
  v1::ExchangeChoice choice;
  choice.set_schedule(core::schedule_name(core::Schedule::kStar));
  choice.set_codec(core::codec_name(wire::exchange_spec(job).codec));
  return choice;
}

void tell(const ConvexParts& parts, const char* reason, const std::string& message) {
  if (parts.communicator.rank() != 0 || message.empty()) {
    return;
  }
  spdlog::info("{}", message);
  parts.link.report_event(reason, message);
}

// The iterate as what users get: float32, in the model.
void write_solution(const convex::Method& method, FlatModel& flat) {
  const std::span<const double> solution = method.solution();
  std::transform(solution.begin(), solution.end(), flat.parameters().data_ptr<float>(),
                 [](double value) { return static_cast<float>(value); });
}

absl::StatusOr<Evaluation> evaluate_on_rank_0(Run& run, int64_t step, bool last) {
  write_solution(run.method, run.parts.flat);
  const auto before_batch = [&]() -> absl::Status {
    LACONIC_RETURN_IF_ERROR(run.parts.stop.status());
    return last ? absl::OkStatus() : failed(run.parts, step, run.method.keep_alive());
  };
  LACONIC_ASSIGN_OR_RETURN(const Evaluation evaluation, run.meter.evaluate([&] {
    return evaluate(run.parts.model, run.parts.data,
                    last ? std::numeric_limits<int64_t>::max() : run.options.eval_samples,
                    before_batch);
  }));
  if (!std::isfinite(evaluation.loss)) {
    return failed(
        run.parts, step,
        absl::OutOfRangeError(absl::StrCat("the loss on held-out data is ", evaluation.loss)));
  }
  return evaluation;
}

absl::Status iterate(Run& run) {
  const absl::Time start = absl::Now();
  const absl::Status status = run.method.iterate();
  run.iterating += absl::Now() - start;
  run.prox_steps += run.method.report().prox_steps;
  return status;
}

sync::SyncStats stats_of(const Run& run) {
  // Encoding and decoding count as exchange: they are a small part of it.
  return {.rounds = run.method.traffic().gathers,
          .exchange_seconds =
              std::max(0.0, absl::ToDoubleSeconds(run.iterating - run.objective.time())),
          .update_norm = run.gradient_norm,
          .decision = {}};
}

v1::ConvexState state_of(const Run& run) {
  const convex::IterationReport& report = run.method.report();
  v1::ConvexState state;
  state.set_gradient_norm(run.gradient_norm);
  state.set_inner_rounds(report.inner_rounds);
  state.set_converged(run.spec().has_tolerance() && run.gradient_norm <= run.spec().tolerance());
  if (run.is_anchor()) {
    state.set_similarity(report.similarity);
    state.set_messages(run.method.traffic().up_messages);
    state.set_skipped_messages(run.method.traffic().skipped_messages);
    state.set_subproblem_steps(run.prox_steps);
    state.set_divergence_guards(report.divergence_guards);
  }
  return state;
}

// The iterations; returns how many there were.
absl::StatusOr<int64_t> iterate_to_the_end(Run& run) {
  const ConvexParts& parts = run.parts;
  for (int64_t step = 1;; ++step) {
    LACONIC_RETURN_IF_ERROR(parts.stop.status());
    LACONIC_RETURN_IF_ERROR(failed(parts, step, iterate(run)));
    RunMeter::Step done{.step = step,
                        .loss = run.objective.loss(),
                        .evaluated = run.is_due(step),
                        .evaluation = {}};
    // The others wait in share_gradient_norm() meanwhile.
    const bool anchor_ends = run.is_anchor() && run.ends(step, run.method.report().gradient_norm);
    if (run.is_anchor() && done.evaluated && !anchor_ends) {
      LACONIC_ASSIGN_OR_RETURN(done.evaluation, evaluate_on_rank_0(run, step, /*last=*/false));
    }
    const absl::StatusOr<double> norm = run.method.share_gradient_norm();
    LACONIC_RETURN_IF_ERROR(failed(parts, step, norm.status()));
    run.gradient_norm = *norm;
    const bool last = run.ends(step, *norm);
    if (last) {
      write_solution(run.method, parts.flat);
      const absl::Status end = parts.transport.finish(absl::Now() + run.options.round_deadline);
      LACONIC_RETURN_IF_ERROR(exchange_failure(end, step, parts.transport.lost_rank()));
      done.evaluated = true;
      if (run.is_anchor()) {
        LACONIC_ASSIGN_OR_RETURN(done.evaluation, evaluate_on_rank_0(run, step, /*last=*/true));
        run.last = done.evaluation;
      }
    }
    run.meter.set_compute(run.objective.time());
    run.meter.set_convex(state_of(run));
    if (run.meter.is_point(done)) {
      tell(parts, "CONVEX_ITERATION", iteration_sentence(run.spec(), step, run.method.report()));
    }
    run.meter.step_done(done, stats_of(run),
                        rank_bytes(parts.transport, run.options.ranks_per_site));
    if (last) {
      return step;
    }
  }
}

}  // namespace

absl::StatusOr<v1::Finished> train_convex(const ConvexParts& parts) {
  const v1::Convex& spec = parts.job.spec().exchange().convex();
  const LoopOptions options = loop_options(parts.job, parts.data.samples());
  const v1::ExchangeChoice choice = choice_of(parts.job);
  const bool anchor = parts.communicator.rank() == 0;
  RunMeter meter(parts.link, options.schedule.steps, parts.flat.layout().elements(),
                 anchor ? choice : v1::ExchangeChoice());
  const std::vector<double> start(static_cast<size_t>(parts.flat.layout().elements()));
  LACONIC_ASSIGN_OR_RETURN(
      const std::unique_ptr<LinearObjective> objective,
      LinearObjective::make(parts.model.loss(), spec.l2(), static_cast<int64_t>(start.size()),
                            parts.data, parts.stop));
  absl::StatusOr<ConvexMethod> made =
      make_convex_method(parts.job, parts.communicator, *objective, start, parts.data.samples());
  if (absl::IsInvalidArgument(made.status())) {
    return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                   absl::StrCat("spec.exchange: ", made.status().message()));
  }
  LACONIC_RETURN_IF_ERROR(failed(parts, 0, made.status()));
  made->method->keep_alive_every(options.round_deadline / 4);
  tell(parts, "CONVEX_CONSTANTS", constants_sentence(spec, *made));

  Run run{.parts = parts,
          .options = options,
          .objective = *objective,
          .method = *made->method,
          .meter = meter,
          .iterating = absl::ZeroDuration(),
          .last = {}};
  LACONIC_ASSIGN_OR_RETURN(const int64_t steps, iterate_to_the_end(run));
  tell(parts, "CONVEX_END", end_sentence(spec, steps, run.gradient_norm));
  v1::Finished finished = meter.finished(steps, run.last, stats_of(run),
                                         rank_bytes(parts.transport, options.ranks_per_site));
  report_exchange(choice, parts.transport, finished);
  finished.set_digest(core::digest({parts.flat.view().parameters}));
  return finished;
}

}  // namespace laconic::trainer
