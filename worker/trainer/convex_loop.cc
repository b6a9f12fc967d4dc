#include "worker/trainer/convex_loop.h"

#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstring>
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
#include "worker/trainer/anchor_choice.h"
#include "worker/trainer/checkpointer.h"
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
  const int anchor;  // a rank
  LinearObjective& objective;
  convex::Method& method;
  RunMeter& meter;
  absl::Duration iterating;        // Time of the iterations of this process.
  int64_t prox_steps = 0;          // Of all iterations.
  double gradient_norm = 0;        // After the last one, on all ranks.
  std::optional<Evaluation> last;  // Of rank 0.

  const v1::Convex& spec() const { return parts.job.spec().exchange().convex(); }
  bool is_anchor() const { return parts.communicator.rank() == anchor; }
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

// The anchor worker knows, and says it for all.
void tell(const ConvexParts& parts, int anchor, const char* reason, const std::string& message) {
  if (parts.communicator.rank() != anchor || message.empty()) {
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

absl::StatusOr<Evaluation> evaluate_on_anchor(Run& run, int64_t step, bool last) {
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
  state.set_anchor(run.anchor);
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

class SavedRun final : public CheckpointedRun {
 public:
  explicit SavedRun(Run& run) : run_(run) {}

  collective::OpTag next_tag() const override { return run_.method.next_tag(); }

  absl::Status save(core::StateWriter& writer) override {
    const std::vector<double> numbers = run_.method.save();
    writer.integer(run_.anchor);
    writer.integer(run_.prox_steps);
    writer.bytes({reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * 8});
    return absl::OkStatus();
  }

  absl::Status restore(core::StateReader& reader, int64_t /*step*/) override {
    LACONIC_RETURN_IF_ERROR(reader.integer("anchor", run_.anchor, run_.anchor).status());
    LACONIC_ASSIGN_OR_RETURN(run_.prox_steps, reader.integer("subproblem steps", 0,
                                                             std::numeric_limits<int64_t>::max()));
    LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> bytes, reader.bytes());
    std::vector<double> numbers(bytes.size() / sizeof(double));
    std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(double));
    return run_.method.restore(numbers);
  }

 private:
  Run& run_;
};

// The iterations after those of `begun`; returns how many there were in all.
absl::StatusOr<int64_t> iterate_to_the_end(Run& run, const RunState& begun,
                                           Checkpointer& checkpointer) {
  const ConvexParts& parts = run.parts;
  for (int64_t step = begun.step + 1;; ++step) {
    LACONIC_RETURN_IF_ERROR(parts.stop.status());
    LACONIC_RETURN_IF_ERROR(failed(parts, step, iterate(run)));
    RunMeter::Step done{.step = step,
                        .loss = run.objective.loss(),
                        .evaluated = run.is_due(step),
                        .evaluation = {}};
    // The others wait in share_gradient_norm() meanwhile.
    const bool anchor_ends = run.is_anchor() && run.ends(step, run.method.report().gradient_norm);
    if (run.is_anchor() && done.evaluated && !anchor_ends) {
      LACONIC_ASSIGN_OR_RETURN(done.evaluation, evaluate_on_anchor(run, step, /*last=*/false));
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
        LACONIC_ASSIGN_OR_RETURN(done.evaluation, evaluate_on_anchor(run, step, /*last=*/true));
        run.last = done.evaluation;
      }
    }
    run.meter.set_compute(run.objective.time());
    run.meter.set_convex(state_of(run));
    if (run.meter.is_point(done)) {
      tell(parts, run.anchor, "CONVEX_ITERATION",
           iteration_sentence(run.spec(), step, run.method.report()));
    }
    const RankBytes bytes = rank_bytes(parts.transport, run.options.ranks_per_site);
    run.meter.step_done(done, stats_of(run), bytes);
    if (last) {
      return step;
    }
    if (checkpointer.is_due(step)) {
      LACONIC_RETURN_IF_ERROR(
          checkpointer.save({.step = step, .totals = run.meter.totals(stats_of(run), bytes)}));
    }
  }
}

// What the method is made of: the anchor worker, the problem, the constants.
struct Prepared {
  AnchorChoice anchor;
  std::unique_ptr<LinearObjective> objective;
  ConvexMethod made;
};

absl::StatusOr<Prepared> prepare(const ConvexParts& parts) {
  const v1::Convex& spec = parts.job.spec().exchange().convex();
  const std::vector<double> start(static_cast<size_t>(parts.flat.layout().elements()));
  Prepared prepared;
  LACONIC_ASSIGN_OR_RETURN(
      prepared.objective,
      LinearObjective::make(parts.model.loss(), spec.l2(), static_cast<int64_t>(start.size()),
                            parts.data, parts.stop));
  if (spec.anchor() == v1::Convex::MOST_ALIKE) {
    absl::StatusOr<AnchorChoice> anchor = choose_anchor(
        *prepared.objective, start, parts.job.spec().train().seed(), parts.communicator);
    LACONIC_RETURN_IF_ERROR(failed(parts, 0, anchor.status()));
    prepared.anchor = *std::move(anchor);
  }
  absl::StatusOr<ConvexMethod> made =
      make_convex_method(parts.job, parts.communicator, *prepared.objective, start,
                         prepared.anchor.rank, parts.data.samples());
  if (absl::IsInvalidArgument(made.status())) {
    return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                   absl::StrCat("spec.exchange: ", made.status().message()));
  }
  LACONIC_RETURN_IF_ERROR(failed(parts, 0, made.status()));
  prepared.made = *std::move(made);
  return prepared;
}

}  // namespace

absl::StatusOr<v1::Finished> train_convex(const ConvexParts& parts) {
  const v1::Convex& spec = parts.job.spec().exchange().convex();
  const LoopOptions options = loop_options(parts.job, parts.data.samples());
  LACONIC_ASSIGN_OR_RETURN(const Prepared prepared, prepare(parts));
  const int anchor = prepared.anchor.rank;
  prepared.made.method->keep_alive_every(options.round_deadline / 4);
  const v1::ExchangeChoice choice =
      parts.communicator.rank() == anchor ? choice_of(parts.job) : v1::ExchangeChoice();
  RunMeter meter(parts.link, options.schedule.steps, parts.flat.layout().elements(), choice);
  Run run{.parts = parts,
          .options = options,
          .anchor = anchor,
          .objective = *prepared.objective,
          .method = *prepared.made.method,
          .meter = meter,
          .iterating = absl::ZeroDuration(),
          .last = {}};
  SavedRun saved(run);
  Checkpointer checkpointer(saved, parts.communicator, parts.link,
                            {.store = parts.checkpoints,
                             .every_steps = options.checkpoint_every_steps,
                             .fingerprint = options.fingerprint,
                             .origin = parts.origin});
  LACONIC_ASSIGN_OR_RETURN(const RunState begun, checkpointer.resume());
  meter.started(begun.step, begun.totals, stats_of(run),
                rank_bytes(parts.transport, options.ranks_per_site));
  tell(parts, anchor, "CONVEX_CONSTANTS", constants_sentence(spec, prepared.anchor, prepared.made));
  LACONIC_ASSIGN_OR_RETURN(const int64_t steps, iterate_to_the_end(run, begun, checkpointer));
  tell(parts, anchor, "CONVEX_END", end_sentence(spec, steps, run.gradient_norm));
  v1::Finished finished = meter.finished(steps, run.last, stats_of(run),
                                         rank_bytes(parts.transport, options.ranks_per_site));
  report_exchange(choice, parts.transport, finished);
  finished.set_digest(core::digest({parts.flat.view().parameters}));
  return finished;
}

}  // namespace laconic::trainer
