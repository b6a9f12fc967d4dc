#include "common/wire/preset.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"

namespace laconic::wire {
namespace {

v1::Optimizer adamw(double learning_rate, double beta2, double weight_decay) {
  v1::Optimizer optimizer;
  v1::AdamW& spec = *optimizer.mutable_adamw();
  spec.set_learning_rate(learning_rate);
  spec.set_beta2(beta2);
  spec.set_weight_decay(weight_decay);
  return optimizer;
}

v1::Optimizer muon() {
  v1::Optimizer optimizer;
  v1::Muon& spec = *optimizer.mutable_muon();
  spec.set_learning_rate(0.02);
  spec.set_weight_decay(0.05);
  spec.mutable_adamw()->set_learning_rate(3e-3);
  spec.mutable_adamw()->set_beta2(0.98);
  spec.mutable_adamw()->set_weight_decay(0.1);
  return optimizer;
}

v1::Local& local(v1::TrainJobSpec& spec, double outer_rate, double outer_momentum) {
  v1::Local& result = *spec.mutable_exchange()->mutable_local();
  result.set_outer_rate(outer_rate);
  result.set_outer_momentum(outer_momentum);
  return result;
}

// Ours; what led to it is in docs/algorithms.md. The rounds follow from the run's length: more
// steps need more of them. asked: what the job says; fragments are counted by steps.
void fill_laconic(v1::TrainJobSpec& spec, const v1::TrainJobSpec& asked) {
  constexpr int64_t kStepsPerRound = 64;
  *spec.mutable_train()->mutable_optimizer() = muon();
  spec.mutable_train()->set_clip_norm(1);
  v1::Local& rounds = local(spec, 0.7, 0.6);
  if (asked.exchange().local().fragments() > 1 || asked.exchange().local().delay_steps() > 0) {
    rounds.set_inner_steps(kStepsPerRound);
  } else {
    rounds.set_rounds(static_cast<int32_t>(
        std::clamp<int64_t>(asked.train().steps() / kStepsPerRound, 1, 1'000'000)));
  }
  v1::Exchange& exchange = *spec.mutable_exchange();
  exchange.set_schedule(v1::SHARDED);
  exchange.mutable_compressor()->mutable_quantize()->set_bits(1);
  exchange.mutable_compressor()->mutable_quantize()->mutable_rows();
  exchange.mutable_compressor()->set_residual_decay(0.5);
}

// Source: Douillard et al., "DiLoCo", arXiv 2311.08105, the 150 M model.
void fill_diloco(v1::TrainJobSpec& spec) {
  *spec.mutable_train()->mutable_optimizer() = adamw(4e-4, 0.95, 0.1);
  spec.mutable_train()->set_clip_norm(1);
  local(spec, 0.7, 0.9).set_inner_steps(500);
  spec.mutable_exchange()->mutable_compressor()->mutable_none();
}

// Source: Douillard et al., "Streaming DiLoCo", arXiv 2501.18512. Its 4 bits are sign and three
// bits of exponent; here the levels A q^k are fitted to each tensor.
void fill_streaming_diloco(v1::TrainJobSpec& spec) {
  *spec.mutable_train()->mutable_optimizer() = adamw(4e-4, 0.95, 0.1);
  spec.mutable_train()->set_clip_norm(1);
  v1::Local& streaming = local(spec, 0.4, 0.9);
  streaming.set_inner_steps(100);
  streaming.set_fragments(4);
  streaming.set_delay_steps(1);
  streaming.set_keep(0.5);
  v1::Compressor& compressor = *spec.mutable_exchange()->mutable_compressor();
  compressor.mutable_quantize()->set_bits(4);
  compressor.mutable_quantize()->mutable_exponential();
  compressor.set_error_feedback(false);
}

// Source: Sarfi et al., "SparseLoCo", arXiv 2508.15706, and its deployment (templar).
void fill_sparseloco(v1::TrainJobSpec& spec) {
  *spec.mutable_train()->mutable_optimizer() = adamw(1.3e-4, 0.95, 0.1);
  spec.mutable_train()->set_clip_norm(1);
  local(spec, 1, 0).set_inner_steps(30);
  v1::Compressor& compressor = *spec.mutable_exchange()->mutable_compressor();
  compressor.mutable_chunked_top_k();  // 64 of 4096, 2 bits
  compressor.set_residual_decay(0.95);
}

// Source: Therien et al., "MuLoCo", arXiv 2505.23725; outer step as low-communication-training work
// on small models found it.
void fill_muloco(v1::TrainJobSpec& spec) {
  *spec.mutable_train()->mutable_optimizer() = muon();
  spec.mutable_train()->set_clip_norm(1);
  local(spec, 0.7, 0.6).set_inner_steps(30);
  v1::Quantize& quantize = *spec.mutable_exchange()->mutable_compressor()->mutable_quantize();
  quantize.set_bits(2);
  quantize.mutable_rows();
}

}  // namespace

std::string preset_names() {
  std::vector<std::string> names;
  const auto* descriptor = v1::Preset_descriptor();
  for (int i = 1; i < descriptor->value_count(); ++i) {  // 0 is "unspecified"
    names.push_back(descriptor->value(i)->name());
  }
  return absl::StrJoin(names, ", ");
}

v1::TrainJob with_preset(v1::TrainJob job) {
  v1::TrainJobSpec filled;
  switch (job.spec().preset()) {
    case v1::LACONIC:
      fill_laconic(filled, job.spec());
      break;
    case v1::DILOCO:
      fill_diloco(filled);
      break;
    case v1::STREAMING_DILOCO_FP4:
      fill_streaming_diloco(filled);
      break;
    case v1::SPARSELOCO:
      fill_sparseloco(filled);
      break;
    case v1::MULOCO:
      fill_muloco(filled);
      break;
    default:
      return job;
  }
  // Rounds are counted in one of two ways; a job that takes the other one means it.
  const v1::Local& asked = job.spec().exchange().local();
  if (asked.has_rounds() || asked.has_inner_steps()) {
    filled.mutable_exchange()->mutable_local()->clear_rounds();
    filled.mutable_exchange()->mutable_local()->clear_inner_steps();
  }
  if (job.spec().exchange().has_auto_()) {
    filled.clear_exchange();  // it is chosen when the job starts
  }
  filled.MergeFrom(job.spec());
  *job.mutable_spec() = std::move(filled);
  return job;
}

}  // namespace laconic::wire
