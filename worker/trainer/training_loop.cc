#include "worker/trainer/training_loop.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/status_macros.h"
#include "common/wire/job_spec.h"
#include "worker/trainer/batch_gradient.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/logit_offsets.h"
#include "worker/trainer/training_state.h"

namespace laconic::trainer {
namespace {

absl::Status diverged(const char* what, int64_t step, double loss) {
  return failure(absl::StatusCode::kOutOfRange, kDiverged,
                 absl::StrCat(what, " at step ", step, " is ", loss,
                              "; lower spec.train.optimizer's learning_rate, add warmup_steps or "
                              "set clip_norm"));
}

absl::Status exchanged(const TrainingParts& parts, int64_t step, const absl::Status& status) {
  return exchange_failure(status, step, parts.communicator.failed_rank());
}

// What the ranks add to their logits in training; undefined where the job wants none.
absl::StatusOr<torch::Tensor> agree_on_offsets(const TrainingParts& parts,
                                               const LoopOptions& options) {
  if (options.logit_adjustment == 0) {
    return torch::Tensor();
  }
  LACONIC_ASSIGN_OR_RETURN(const torch::Tensor own, count_classes(parts.model, parts.data));
  const torch::Tensor mean = own.clone();
  const std::span<float> counts(mean.data_ptr<float>(), static_cast<size_t>(mean.numel()));
  LACONIC_RETURN_IF_ERROR(
      exchanged(parts, /*step=*/0, parts.communicator.all_reduce_mean(counts, {})));
  return logit_offsets(own, mean, options.logit_adjustment).to(parts.flat.device());
}

// A call of the sync method, at `step`, between the copies that it needs.
template <typename Call>
absl::Status with_view(const TrainingParts& parts, int64_t step, const sync::ViewUse& use,
                       const Call& call) {
  parts.flat.copy_to_view(use);
  LACONIC_RETURN_IF_ERROR(exchanged(parts, step, call(parts.flat.view())));
  parts.flat.copy_from_view(use);
  return absl::OkStatus();
}

absl::Status finish_exchange(const TrainingParts& parts, const LoopOptions& options) {
  const absl::Status status = parts.transport.finish(absl::Now() + options.round_deadline);
  return exchange_failure(status, options.schedule.steps, parts.transport.lost_rank());
}

// While it lives the model holds the parameters that all ranks share, not those it trains on.
class SharedParameters {
 public:
  explicit SharedParameters(const TrainingParts& parts)
      : flat_(parts.flat), shared_(parts.sync.shared_parameters()) {
    swap();
  }
  ~SharedParameters() { swap(); }
  SharedParameters(const SharedParameters&) = delete;
  SharedParameters& operator=(const SharedParameters&) = delete;

 private:
  void swap() {
    if (!shared_.empty()) {
      flat_.swap_parameters(shared_);
    }
  }

  FlatModel& flat_;
  const std::span<float> shared_;  // may be empty: the model trains on them
};

// Rank 0's evaluation after `step`. On the way the others may wait for it already: as often as four
// times within round_deadline they hear that it comes.
absl::StatusOr<Evaluation> evaluate_on_rank_0(const TrainingParts& parts,
                                              const LoopOptions& options, int64_t step) {
  const bool last = step == options.schedule.steps;
  const SharedParameters shared(parts);
  const absl::Duration interval = options.round_deadline / 4;
  absl::Time next_word = absl::Now() + interval;
  const auto before_batch = [&]() -> absl::Status {
    LACONIC_RETURN_IF_ERROR(parts.stop.status());
    if (last || absl::Now() < next_word) {
      return absl::OkStatus();
    }
    next_word = absl::Now() + interval;
    return exchanged(parts, step, parts.communicator.keep_alive(parts.sync.next_tag()));
  };
  LACONIC_ASSIGN_OR_RETURN(
      const Evaluation evaluation,
      evaluate(parts.model, parts.data,
               last ? std::numeric_limits<int64_t>::max() : options.eval_samples, before_batch));
  if (!std::isfinite(evaluation.loss)) {
    return diverged("the loss on held-out data", step, evaluation.loss);
  }
  return evaluation;
}

// One step of the optimizer, with what the method exchanges before and after it; returns the loss.
absl::StatusOr<double> take_step(const TrainingParts& parts, const LoopOptions& options,
                                 const GradientParts& gradient, RunMeter& meter, int64_t step) {
  const auto clip = [&](bool own) {
    if (options.clip_norm.has_value() && own == options.clips_own_gradient) {
      parts.flat.clip_gradients(*options.clip_norm);
    }
  };
  LACONIC_RETURN_IF_ERROR(parts.stop.status());
  LACONIC_ASSIGN_OR_RETURN(const double loss, meter.compute([&] {
    const absl::StatusOr<double> computed = compute_gradient(gradient, parts.data.next_batch());
    clip(/*own=*/true);
    return computed;
  }));
  if (!std::isfinite(loss)) {
    return diverged("the loss", step, loss);
  }
  LACONIC_RETURN_IF_ERROR(
      with_view(parts, step, parts.sync.use_of_reduce_gradients(),
                [&](const sync::ModelView& view) { return parts.sync.reduce_gradients(view); }));
  meter.compute([&] {
    clip(/*own=*/false);
    parts.optimizer.step(learning_rate_factor(options.schedule, step - 1));
  });
  const bool last = step == options.schedule.steps;
  LACONIC_RETURN_IF_ERROR(
      with_view(parts, step, parts.sync.use_of_end_step(last),
                [&](const sync::ModelView& view) { return parts.sync.end_step(view, last); }));
  if (last) {
    LACONIC_RETURN_IF_ERROR(finish_exchange(parts, options));
  }
  return loss;
}

// Where all ranks hold the same parameters after `step`: measures how alike they are, if it is
// time.
absl::Status measure_similarity(const TrainingParts& parts, SimilarityProbe& probe, RunMeter& meter,
                                int64_t step) {
  if (!parts.sync.parameters_are_shared()) {
    return absl::OkStatus();
  }
  LACONIC_ASSIGN_OR_RETURN(const bool measured,
                           meter.compute([&] { return probe.at_shared_state(step); }));
  if (!measured) {
    return absl::OkStatus();
  }
  const absl::StatusOr<sync::Similarity> similarity =
      probe.gather(parts.communicator, parts.sync.next_tag());
  LACONIC_RETURN_IF_ERROR(exchanged(parts, step, similarity.status()));
  meter.similarity_measured(similarity_state(*similarity, parts.communicator.rank(), step,
                                             parts.sync.take_similarity(*similarity)));
  return absl::OkStatus();
}

}  // namespace

LoopOptions loop_options(const v1::TrainJob& job, int64_t samples) {
  const v1::Train& train = job.spec().train();
  LoopOptions options;
  const core::ExchangeSpec exchange = wire::exchange_spec(job);
  options.round_deadline = exchange.round_deadline;
  options.ranks_per_site = exchange.ranks_per_site;
  options.schedule = {.steps = train.steps(),
                      .warmup_steps = train.schedule().warmup_steps(),
                      .final_ratio = train.has_schedule() && train.schedule().has_final_ratio()
                                         ? train.schedule().final_ratio()
                                         : 1.0};
  if (train.has_clip_norm()) {
    options.clip_norm = train.clip_norm();
  }
  options.clips_own_gradient = job.spec().exchange().has_demo();
  options.bfloat16_products = train.precision() == v1::Train::BFLOAT16;
  options.logit_adjustment = train.logit_adjustment();
  options.eval_every_steps = train.eval_every_steps();
  options.eval_samples = train.eval_samples();
  if (job.spec().exchange().has_similarity()) {
    const v1::Similarity& similarity = job.spec().exchange().similarity();
    options.similarity = {.every_steps = similarity.every_steps(),
                          .samples = similarity.samples(),
                          .seed = train.seed()};
  }
  if (train.has_checkpoint()) {
    options.checkpoint_every_steps = train.checkpoint().every_steps();
    options.fingerprint = job_fingerprint(job, samples);
  }
  return options;
}

absl::StatusOr<v1::Finished> train(const TrainingParts& parts, const LoopOptions& options) {
  const int64_t steps = options.schedule.steps;
  const bool evaluates = parts.communicator.rank() == 0;
  LACONIC_ASSIGN_OR_RETURN(const torch::Tensor offsets, agree_on_offsets(parts, options));
  const GradientParts gradient = {.model = parts.model,
                                  .flat = parts.flat,
                                  .bfloat16_products = options.bfloat16_products,
                                  .offsets = offsets};
  std::optional<SimilarityProbe> probe;
  if (options.similarity.has_value() && parts.communicator.world_size() > 1) {
    probe.emplace(gradient, parts.data, parts.communicator.rank(), *options.similarity);
  }
  TrainingState state(parts, probe.has_value() ? &*probe : nullptr);
  Checkpointer checkpointer(state, parts.communicator, parts.link,
                            {.store = parts.checkpoints,
                             .every_steps = options.checkpoint_every_steps,
                             .fingerprint = options.fingerprint,
                             .origin = parts.origin});
  LACONIC_ASSIGN_OR_RETURN(const RunState begun, checkpointer.resume());
  if (begun.step == 0) {
    LACONIC_RETURN_IF_ERROR(with_view(
        parts, 0, {}, [&](const sync::ModelView& view) { return parts.sync.begin(view); }));
  }
  RunMeter meter(parts.link, steps, parts.flat.layout().elements(), parts.choice);
  const auto bytes = [&] { return rank_bytes(parts.transport, options.ranks_per_site); };
  meter.started(begun.step, begun.totals, parts.sync.stats(), bytes());
  std::optional<Evaluation> evaluation;
  bool evaluation_is_due = begun.evaluation_is_due;
  parts.model.set_training(true);
  if (begun.step == 0 && probe.has_value()) {
    LACONIC_RETURN_IF_ERROR(measure_similarity(parts, *probe, meter, /*step=*/0));
  }
  for (int64_t step = begun.step + 1; step <= steps; ++step) {
    const bool last = step == steps;
    LACONIC_ASSIGN_OR_RETURN(const double loss, take_step(parts, options, gradient, meter, step));
    if (!last && probe.has_value()) {
      LACONIC_RETURN_IF_ERROR(measure_similarity(parts, *probe, meter, step));
    }

    evaluation_is_due = evaluation_is_due || last || step % options.eval_every_steps == 0;
    RunMeter::Step done{.step = step, .loss = loss, .evaluated = false, .evaluation = {}};
    if (evaluation_is_due &&
        (last || parts.sync.parameters_are_shared() || !parts.sync.shared_parameters().empty())) {
      evaluation_is_due = false;
      done.evaluated = true;
      if (evaluates) {
        LACONIC_ASSIGN_OR_RETURN(
            evaluation, meter.evaluate([&] { return evaluate_on_rank_0(parts, options, step); }));
        done.evaluation = evaluation;
      }
    }
    meter.step_done(done, parts.sync.stats(), bytes());
    if (!last && checkpointer.is_due(step)) {
      LACONIC_RETURN_IF_ERROR(
          checkpointer.save({.step = step,
                             .evaluation_is_due = evaluation_is_due,
                             .totals = meter.totals(parts.sync.stats(), bytes())}));
    }
  }
  v1::Finished finished = meter.finished(steps, evaluation, parts.sync.stats(), bytes());
  report_exchange(parts.choice, parts.transport, finished);
  finished.set_digest(parts.sync.digest());
  return finished;
}

absl::StatusOr<Evaluation> evaluate(Model& model, const Dataset& data, int64_t samples,
                                    const std::function<absl::Status()>& before_batch) {
  const torch::NoGradGuard no_grad;
  const std::vector<int64_t> chosen = evenly_spaced(data.eval_samples(), samples);
  const auto batch_size = static_cast<size_t>(data.eval_batch_size());
  double loss_sum = 0;
  int64_t correct = 0;
  int64_t predictions = 0;
  model.set_training(false);
  for (size_t begin = 0; begin < chosen.size(); begin += batch_size) {
    LACONIC_RETURN_IF_ERROR(before_batch());
    const auto part = std::span(chosen).subspan(begin, std::min(batch_size, chosen.size() - begin));
    const Batch batch = data.eval_batch(part);
    LACONIC_ASSIGN_OR_RETURN(const LossResult result,
                             compute_loss(model.loss(), model.forward(batch.inputs), batch.labels,
                                          /*count_correct=*/true));
    loss_sum += result.loss.item<double>() * static_cast<double>(result.predictions);
    correct += result.correct;
    predictions += result.predictions;
  }
  model.set_training(true);
  Evaluation evaluation{.loss = loss_sum / static_cast<double>(predictions), .accuracy = {}};
  if (correct >= 0) {
    evaluation.accuracy = static_cast<double>(correct) / static_cast<double>(predictions);
  }
  return evaluation;
}

}  // namespace laconic::trainer
