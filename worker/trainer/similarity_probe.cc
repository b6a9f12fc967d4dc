#include "worker/trainer/similarity_probe.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/split.h"

namespace laconic::trainer {
namespace {

constexpr int kDeltasRanksMax = 64;

// While it lives the model computes as in evaluation: without dropout, without batch statistics.
class EvaluationMode {
 public:
  explicit EvaluationMode(Model& model) : model_(model) { model_.set_training(false); }
  ~EvaluationMode() { model_.set_training(true); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  Model& model_;
};

// While it lives the model has other parameters, [d].
class OtherParameters {
 public:
  OtherParameters(FlatModel& flat, std::span<float> other) : flat_(flat), other_(other) {
    flat_.swap_parameters(other_);
  }
  ~OtherParameters() { flat_.swap_parameters(other_); }
  OtherParameters(const OtherParameters&) = delete;
  OtherParameters& operator=(const OtherParameters&) = delete;

 private:
  FlatModel& flat_;
  const std::span<float> other_;
};

}  // namespace

SimilarityProbe::SimilarityProbe(const GradientParts& parts, const Dataset& data, int rank,
                                 const SimilarityOptions& options)
    : parts_(parts), data_(data), rank_(rank), options_(options), halves_(2 * sync::kSketchSize) {}

// Every second sample belongs to half 1: a share may be sorted by class, and both see all of it.
std::vector<int64_t> SimilarityProbe::draw(int64_t half) const {
  std::vector<int64_t> places = evenly_spaced(data_.samples(), options_.samples);
  const core::Random random(options_.seed, kProbeStream + static_cast<uint64_t>(rank_));
  const auto shift = static_cast<int64_t>(random.at(static_cast<uint64_t>(count_)) %
                                          static_cast<uint64_t>(data_.samples()));
  std::vector<int64_t> chosen;
  for (size_t i = 0; i < places.size(); ++i) {
    if (static_cast<int64_t>(i % 2) == half || places.size() == 1) {
      chosen.push_back((places[i] + shift) % data_.samples());
    }
  }
  return chosen;
}

absl::Status SimilarityProbe::measure(int64_t step) {
  const EvaluationMode mode(parts_.model);
  const std::span<float> halves(halves_);
  std::vector<float> change(earlier_.size());
  for (int64_t half = 0; half < 2; ++half) {
    const Batch batch = data_.share_samples(draw(half));
    double loss = 0;
    {
      const OtherParameters earlier(parts_.flat, earlier_);
      LACONIC_ASSIGN_OR_RETURN(loss, compute_gradient(parts_, batch));
      std::ranges::copy(parts_.flat.host_gradients(), change.begin());
    }
    LACONIC_ASSIGN_OR_RETURN(const double now, compute_gradient(parts_, batch));
    if (!std::isfinite(loss + now)) {
      return failure(absl::StatusCode::kOutOfRange, kDiverged,
                     absl::StrCat("the loss at step ", step, " is ", now,
                                  "; lower spec.train.optimizer's learning_rate, add warmup_steps "
                                  "or set clip_norm"));
    }
    const std::span<const float> gradient = parts_.flat.host_gradients();
    for (size_t i = 0; i < change.size(); ++i) {
      change[i] = gradient[i] - change[i];
    }
    sync::make_sketch(
        change, options_.seed + static_cast<uint64_t>(count_),
        halves.subspan(static_cast<size_t>(half) * sync::kSketchSize, sync::kSketchSize));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> SimilarityProbe::at_shared_state(int64_t step) {
  const std::span<const float> parameters = parts_.flat.host_parameters();
  if (earlier_.empty()) {
    if (step >= next_) {
      earlier_.assign(parameters.begin(), parameters.end());
      next_ = (step / options_.every_steps + 1) * options_.every_steps;
    }
    return false;
  }
  distance_ = sync::secant_length(earlier_, parameters);
  if (!(distance_ > 0)) {
    return false;  // on every rank: nothing has moved yet
  }
  LACONIC_RETURN_IF_ERROR(measure(step));
  ++count_;
  earlier_ = {};
  if (step >= next_) {  // a round is longer than every_steps: the next one begins here
    earlier_.assign(parameters.begin(), parameters.end());
    next_ = (step / options_.every_steps + 1) * options_.every_steps;
  }
  return true;
}

absl::StatusOr<sync::Similarity> SimilarityProbe::gather(collective::Communicator& communicator,
                                                         const collective::OpTag& tag) const {
  return sync::gather_similarity(halves_, distance_, communicator, tag);
}

void SimilarityProbe::save(core::StateWriter& writer) const {
  writer.integer(next_);
  writer.integer(count_);
  writer.integer(earlier_.empty() ? 0 : 1);
  writer.floats(earlier_);
}

absl::Status SimilarityProbe::restore(core::StateReader& reader) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  LACONIC_ASSIGN_OR_RETURN(next_, reader.integer("next measurement", 0, kAny));
  LACONIC_ASSIGN_OR_RETURN(count_, reader.integer("measurements", 0, kAny));
  LACONIC_ASSIGN_OR_RETURN(const int64_t under_way, reader.integer("under way", 0, 1));
  earlier_.resize(under_way == 1 ? parts_.flat.view().parameters.size() : 0);
  return reader.floats(earlier_);
}

v1::SimilarityState similarity_state(const sync::Similarity& similarity, int rank, int64_t step,
                                     int64_t inner_steps) {
  v1::SimilarityState state;
  state.set_step(step);
  state.set_delta(similarity.deltas[static_cast<size_t>(rank)]);
  state.set_delta_rms(similarity.delta_rms);
  state.set_smoothness(similarity.smoothness);
  state.set_inner_steps(inner_steps);
  if (rank == 0 && similarity.deltas.size() <= kDeltasRanksMax) {
    state.mutable_deltas()->Add(similarity.deltas.begin(), similarity.deltas.end());
  }
  return state;
}

std::string similarity_sentence(const v1::SimilarityState& state) {
  std::string text = absl::StrFormat(
      "step %d: the ranks' losses curve apart by delta = %.3g where their mean curves by L = %.3g",
      state.step(), state.delta_rms(), state.smoothness());
  if (state.smoothness() > 0) {
    absl::StrAppendFormat(&text, " (%.0f %%)", 100 * state.delta_rms() / state.smoothness());
  }
  const auto most = std::ranges::max_element(state.deltas());
  if (most != state.deltas().end() && state.deltas_size() > 1) {
    absl::StrAppendFormat(&text, ", most on rank %d: %.3g", most - state.deltas().begin(), *most);
  }
  if (state.inner_steps() > 0) {
    absl::StrAppend(&text, "; ", state.inner_steps(), state.inner_steps() == 1 ? " step" : " steps",
                    " between rounds from now on");
  }
  return text;
}

}  // namespace laconic::trainer
