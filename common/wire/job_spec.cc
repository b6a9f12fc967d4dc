#include "common/wire/job_spec.h"

#include <algorithm>
#include <utility>

#include "common/wire/compressor_spec.h"
#include "common/wire/convex_check.h"
#include "common/wire/job_defaults.h"
#include "common/wire/method_spec.h"
#include "common/wire/preset.h"
#include "common/wire/time.h"

namespace laconic::wire {
namespace {

void fill_train(v1::Train& train, bool convex) {
  if (!convex && !train.has_batch_size()) {
    train.set_batch_size(64);
  }
  if (!train.has_eval_every_steps()) {
    train.set_eval_every_steps(std::max<int64_t>(1, train.steps() / 10));
  }
  if (!train.has_eval_samples()) {
    train.set_eval_samples(2000);
  }
  if (train.has_checkpoint() && !train.checkpoint().has_every_steps()) {
    train.mutable_checkpoint()->set_every_steps(std::max<int64_t>(1, train.steps() / 10));
  }
  if (!convex && !train.schedule().has_final_ratio()) {
    train.mutable_schedule()->set_final_ratio(1);
  }
}

void fill_adamw(v1::AdamW& adamw) {
  if (!adamw.has_learning_rate()) {
    adamw.set_learning_rate(3e-3);
  }
  if (!adamw.has_beta1()) {
    adamw.set_beta1(0.9);
  }
  if (!adamw.has_beta2()) {
    adamw.set_beta2(0.999);
  }
  if (!adamw.has_epsilon()) {
    adamw.set_epsilon(1e-8);
  }
}

void fill_optimizer(v1::Optimizer& optimizer) {
  if (optimizer.has_sgd() && !optimizer.sgd().has_momentum()) {
    optimizer.mutable_sgd()->set_momentum(0.9);
  }
  if (optimizer.has_adamw()) {
    fill_adamw(*optimizer.mutable_adamw());
  }
  if (optimizer.has_muon()) {
    if (!optimizer.muon().has_momentum()) {
      optimizer.mutable_muon()->set_momentum(0.95);
    }
    fill_adamw(*optimizer.mutable_muon()->mutable_adamw());
  }
}

void fill_data(v1::Data& data, uint64_t train_seed) {
  if (data.has_bytes() && !data.bytes().has_eval_fraction()) {
    data.mutable_bytes()->set_eval_fraction(0.05);
  }
  if (data.has_shared() && data.shared().how_case() == v1::SharedSplit::HOW_NOT_SET) {
    data.mutable_shared()->mutable_iid();
  }
  if (data.shared().has_dirichlet() && !data.shared().dirichlet().has_seed()) {
    data.mutable_shared()->mutable_dirichlet()->set_seed(train_seed);
  }
}

// Measured where the job asks for it or needs it.
void fill_similarity(v1::TrainJobSpec& spec) {
  v1::Exchange& exchange = *spec.mutable_exchange();
  if (!exchange.has_similarity() && !exchange.has_auto_() &&
      !exchange.local().has_inner_steps_max()) {
    return;
  }
  v1::Similarity& similarity = *exchange.mutable_similarity();
  if (!similarity.has_every_steps()) {
    similarity.set_every_steps(std::max<int64_t>(1, spec.train().steps() / 10));
  }
  if (!similarity.has_samples()) {
    similarity.set_samples(std::clamp(spec.train().batch_size(), 1, 250'000) * 4);
  }
}

core::Schedule to_schedule(v1::ExchangeSchedule schedule) {
  switch (schedule) {
    case v1::ALL_GATHER:
      return core::Schedule::kAllGather;
    case v1::SHARDED:
      return core::Schedule::kSharded;
    case v1::RING:
      return core::Schedule::kRing;
    case v1::STAR:
      return core::Schedule::kStar;
    case v1::TREE:
      return core::Schedule::kTree;
    case v1::HIERARCHICAL:
      return core::Schedule::kHierarchical;
    default:
      return core::Schedule::kAuto;
  }
}

}  // namespace

v1::Model with_model_defaults(v1::Model model) {
  if (model.has_mlp() && model.mlp().hidden().empty()) {
    model.mutable_mlp()->add_hidden(128);
  }
  if (model.has_gpt()) {
    v1::Gpt& gpt = *model.mutable_gpt();
    gpt.set_layers(gpt.has_layers() ? gpt.layers() : 4);
    gpt.set_width(gpt.has_width() ? gpt.width() : 128);
    gpt.set_heads(gpt.has_heads() ? gpt.heads() : 4);
    gpt.set_context(gpt.has_context() ? gpt.context() : 128);
  }
  return model;
}

v1::Exchange with_exchange_defaults(v1::Exchange exchange) {
  if (exchange.has_local()) {
    v1::Local& local = *exchange.mutable_local();
    local.set_outer_rate(local.has_outer_rate() ? local.outer_rate() : 0.7);
    local.set_outer_momentum(local.has_outer_momentum() ? local.outer_momentum() : 0.6);
    if (local.has_rounds() && !local.has_round_growth()) {
      local.set_round_growth(1);
    }
    local.set_fragments(local.has_fragments() ? local.fragments() : 1);
    local.set_delay_steps(local.has_delay_steps() ? local.delay_steps() : 0);
    local.set_keep(local.has_keep() ? local.keep() : local.delay_steps() > 0 ? 0.5 : 0);
  }
  if (exchange.has_auto_() && !exchange.auto_().has_wait()) {
    exchange.mutable_auto_()->set_wait(core::AutoSpec().wait);
  }
  fill_method(exchange);
  if (exchange.has_convex()) {
    fill_convex(exchange);
  }
  fill_compressor(*exchange.mutable_compressor(), exchange.has_local());
  if (!exchange.has_round_deadline()) {
    exchange.mutable_round_deadline()->set_seconds(60);
  }
  if (exchange.schedule() == v1::EXCHANGE_SCHEDULE_UNSPECIFIED) {
    exchange.set_schedule(v1::AUTO);
  }
  exchange.set_lanes(exchange.has_lanes() ? exchange.lanes() : 1);
  return exchange;
}

v1::TrainJob with_defaults(v1::TrainJob job) {
  job = with_preset(std::move(job));
  v1::TrainJobSpec& spec = *job.mutable_spec();
  v1::Workers& workers = *spec.mutable_workers();
  workers.set_count(workers.has_count() ? workers.count() : 1);
  workers.set_threads_per_rank(workers.has_threads_per_rank() ? workers.threads_per_rank() : 1);
  if (workers.device() == v1::Workers::DEVICE_UNSPECIFIED) {
    workers.set_device(v1::Workers::AUTO);
  }
  *spec.mutable_model() = with_model_defaults(spec.model());
  fill_data(*spec.mutable_data(), spec.train().seed());
  fill_train(*spec.mutable_train(), spec.exchange().has_convex());
  if (!spec.exchange().has_convex()) {
    fill_optimizer(*spec.mutable_train()->mutable_optimizer());
  }
  *spec.mutable_exchange() = with_exchange_defaults(spec.exchange());
  fill_similarity(spec);
  return job;
}

core::ExchangeSpec exchange_spec(const v1::TrainJob& asked) {
  const v1::TrainJob job = with_preset(asked);
  const v1::Exchange exchange = with_exchange_defaults(job.spec().exchange());
  core::ExchangeSpec spec;
  spec.codec = codec_spec(exchange.compressor());
  spec.codec.world_size = job.spec().workers().has_count() ? job.spec().workers().count() : 1;
  spec.round_deadline = from_proto(exchange.round_deadline());
  spec.candidates =
      exchange.has_auto_() ? method_codecs() : candidate_codecs(exchange.compressor());
  for (core::CodecSpec& candidate : spec.candidates) {
    candidate.world_size = spec.codec.world_size;
  }
  // exchange.auto: what an exchange loses is fed back.
  constexpr double kAnyError = 1e6;
  spec.error_budget =
      exchange.has_auto_() ? kAnyError : exchange.compressor().auto_().error_budget();
  spec.schedule = to_schedule(exchange.schedule());
  set_feedback(exchange.compressor(), spec);
  spec.ranks_per_site = exchange.ranks_per_site();
  set_shared_index(exchange.compressor(), spec);
  spec.lanes = exchange.lanes();
  if (exchange.has_local()) {
    spec.method = core::Method::kLocal;
    spec.rounds = {.steps = job.spec().train().steps(),
                   .inner_steps = exchange.local().inner_steps(),
                   .rounds = exchange.local().rounds(),
                   .growth = exchange.local().has_rounds() ? exchange.local().round_growth() : 1};
    spec.fragments = {.count = exchange.local().fragments(),
                      .delay_steps = exchange.local().delay_steps(),
                      .keep = exchange.local().keep()};
    spec.inner_steps_max = exchange.local().inner_steps_max();
    spec.shift = exchange.local().shift();
    spec.outer_rate = exchange.local().outer_rate();
    spec.outer_momentum = exchange.local().outer_momentum();
  }
  if (exchange.has_auto_()) {
    spec.automatic = {.wait = exchange.auto_().wait(), .bytes = exchange.auto_().bytes()};
    spec.rounds.steps = job.spec().train().steps();
  }
  set_method(exchange, spec);
  return spec;
}

Timeouts derive_timeouts(const v1::TrainJob& job) {
  const absl::Duration deadline = exchange_spec(job).round_deadline;
  return {
      .round_deadline = deadline,
      .start_deadline = std::clamp(5 * deadline, absl::Minutes(2), absl::Hours(24)),
      .reservation_ttl = std::clamp(deadline / 2, absl::Seconds(10), absl::Minutes(1)),
      .stop_grace = std::clamp(deadline / 12, absl::Seconds(1), absl::Seconds(5)),
      .root_cause_wait = std::clamp(deadline / 30, absl::Milliseconds(500), absl::Seconds(2)),
  };
}

}  // namespace laconic::wire
