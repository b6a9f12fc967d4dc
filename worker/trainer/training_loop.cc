#include "worker/trainer/training_loop.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/status_macros.h"
#include "common/wire/job_spec.h"
#include "worker/trainer/checkpointer.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/logit_offsets.h"

namespace laconic::trainer {
namespace {

// While it lives, matrix products and convolutions of this thread are computed in bfloat16. A
// backward pass computes in the precision of its forward pass.
class Bfloat16Products {
 public:
  explicit Bfloat16Products(bool enabled) : enabled_(enabled) {
    if (enabled_) {
      at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
      at::autocast::set_cpu_enabled(true);
    }
  }
  ~Bfloat16Products() {
    if (enabled_) {
      at::autocast::clear_cache();  // casts of weights, which the step is about to change
      at::autocast::set_cpu_enabled(false);
    }
  }
  Bfloat16Products(const Bfloat16Products&) = delete;
  Bfloat16Products& operator=(const Bfloat16Products&) = delete;

 private:
  const bool enabled_;
};

torch::Tensor training_outputs(const TrainingParts& parts, const torch::Tensor& inputs,
                               const LoopOptions& options) {
  const Bfloat16Products products(options.bfloat16_products);
  const torch::Tensor outputs = parts.model.forward(inputs);
  // Any other type is the model's own, and compute_loss() has its say about it.
  return outputs.scalar_type() == torch::kBFloat16 ? outputs.to(torch::kFloat32) : outputs;
}

// One batch forward and backward: leaves the gradient in parts.flat, returns the mean loss.
// offsets: added to the logits, where defined.
absl::StatusOr<double> compute_gradients(const TrainingParts& parts, const LoopOptions& options,
                                         const torch::Tensor& offsets) {
  const Batch batch = parts.data.next_batch();
  parts.flat.zero_gradients();
  const torch::Tensor outputs = training_outputs(parts, batch.inputs, options);
  LACONIC_ASSIGN_OR_RETURN(
      const LossResult result,
      compute_loss(parts.model.loss(), offsets.defined() ? outputs + offsets : outputs,
                   batch.labels, /*count_correct=*/false));
  const double loss = result.loss.item<double>();
  if (std::isfinite(loss)) {
    result.loss.backward();
  }
  return loss;
}

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
  return logit_offsets(own, mean, options.logit_adjustment);
}

absl::Status finish_exchange(const TrainingParts& parts, const LoopOptions& options) {
  const absl::Status status = parts.transport.finish(absl::Now() + options.round_deadline);
  return exchange_failure(status, options.schedule.steps, parts.transport.lost_rank());
}

// While it lives the model holds the parameters that all ranks share, not those it trains on.
class SharedParameters {
 public:
  explicit SharedParameters(const TrainingParts& parts)
      : own_(parts.flat.view().parameters), shared_(parts.sync.shared_parameters()) {
    swap();
  }
  ~SharedParameters() { swap(); }
  SharedParameters(const SharedParameters&) = delete;
  SharedParameters& operator=(const SharedParameters&) = delete;

 private:
  void swap() { std::swap_ranges(shared_.begin(), shared_.end(), own_.begin()); }

  const std::span<float> own_;
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
  options.bfloat16_products = train.precision() == v1::Train::BFLOAT16;
  options.logit_adjustment = train.logit_adjustment();
  options.eval_every_steps = train.eval_every_steps();
  options.eval_samples = train.eval_samples();
  if (train.has_checkpoint()) {
    options.checkpoint_every_steps = train.checkpoint().every_steps();
    options.fingerprint = job_fingerprint(job, samples);
  }
  return options;
}

absl::StatusOr<v1::Finished> train(const TrainingParts& parts, const LoopOptions& options) {
  const int64_t steps = options.schedule.steps;
  const bool evaluates = parts.communicator.rank() == 0;
  const sync::ModelView view = parts.flat.view();
  LACONIC_ASSIGN_OR_RETURN(const torch::Tensor offsets, agree_on_offsets(parts, options));
  Checkpointer checkpointer(parts, options.checkpoint_every_steps, options.fingerprint);
  LACONIC_ASSIGN_OR_RETURN(const RunState begun, checkpointer.resume());
  if (begun.step == 0) {
    LACONIC_RETURN_IF_ERROR(exchanged(parts, 0, parts.sync.begin(view)));
  }
  RunMeter meter(parts.link, steps, static_cast<int64_t>(view.parameters.size()),
                 evaluates ? parts.choice : v1::ExchangeChoice());
  const auto bytes = [&] { return rank_bytes(parts.transport, options.ranks_per_site); };
  meter.started(begun.step, begun.totals, parts.sync.stats(), bytes());
  std::optional<Evaluation> evaluation;
  bool evaluation_is_due = begun.evaluation_is_due;
  parts.model.set_training(true);
  for (int64_t step = begun.step + 1; step <= steps; ++step) {
    LACONIC_RETURN_IF_ERROR(parts.stop.status());
    LACONIC_ASSIGN_OR_RETURN(const double loss, meter.compute([&] {
      return compute_gradients(parts, options, offsets);
    }));
    if (!std::isfinite(loss)) {
      return diverged("the loss", step, loss);
    }
    LACONIC_RETURN_IF_ERROR(exchanged(parts, step, parts.sync.reduce_gradients(view)));
    meter.compute([&] {
      if (options.clip_norm.has_value()) {
        parts.flat.clip_gradients(*options.clip_norm);
      }
      parts.optimizer.step(learning_rate_factor(options.schedule, step - 1));
    });
    const bool last = step == steps;
    LACONIC_RETURN_IF_ERROR(exchanged(parts, step, parts.sync.end_step(view, last)));
    if (last) {
      LACONIC_RETURN_IF_ERROR(finish_exchange(parts, options));
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
