#include "common/sync/local.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/core/status_macros.h"

namespace laconic::sync {

Local::Local(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec)
    : exchange_(std::move(exchange)),
      rounds_(spec.rounds),
      steps_max_(spec.inner_steps_max),
      shift_(spec.shift),
      outer_(spec.outer_rate, spec.outer_momentum, exchange_->elements()),
      theta_(static_cast<size_t>(exchange_->elements())),
      drift_(theta_.size()),
      inner_steps_(spec.rounds.inner_steps),
      gap_(shift_ > 0 ? theta_.size() : 0),
      mean_(gap_.size()) {}

absl::Status Local::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(exchange_->share_from_rank_0(view.parameters));
  std::copy(view.parameters.begin(), view.parameters.end(), theta_.begin());
  return absl::OkStatus();
}

absl::Status Local::reduce_gradients(ModelView view) {
  return check_view(view, exchange_->elements());
}

absl::Status Local::end_step(ModelView view, bool last) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  if (round_is_due(last)) {
    LACONIC_RETURN_IF_ERROR(round(view.parameters));
    since_round_ = 0;
  } else {
    correct_drift(view.parameters);
    ++since_round_;
  }
  ++step_;
  return absl::OkStatus();
}

bool Local::round_is_due(bool last) const {
  return last || (follows_similarity() ? since_round_ + 1 >= inner_steps_
                                       : core::ends_round(rounds_, step_ + 1));
}

int64_t Local::take_similarity(const Similarity& similarity) {
  similarity_.add(similarity);
  if (!follows_similarity()) {
    return 0;
  }
  inner_steps_ = steps_for_similarity(similarity_.ratio(), rounds_.inner_steps, steps_max_);
  return inner_steps_;
}

SyncStats Local::stats() const {
  SyncStats stats = exchange_->stats();
  if (followed_) {
    stats.decision.reason = RoundReason::kSimilarity;
  }
  return stats;
}

void Local::correct_drift(std::span<float> parameters) {
  if (gap_.empty()) {
    return;
  }
  const double left =
      rounds_.steps > 0 ? 1 - static_cast<double>(step_) / static_cast<double>(rounds_.steps) : 1;
  const double unlike = similarity_.count > 0 ? std::min(1.0, similarity_.ratio()) : 1;
  const auto factor = static_cast<float>(shift_ * std::max(0.0, left) * unlike);
  corrected_ += factor;
  for (size_t i = 0; i < gap_.size(); ++i) {
    parameters[i] += factor * gap_[i];
  }
}

absl::Status Local::round(std::span<float> parameters) {
  LACONIC_RETURN_IF_ERROR(check_finite(parameters, "the parameters", exchange_->rank(), step_ + 1));
  for (size_t i = 0; i < drift_.size(); ++i) {
    drift_[i] = theta_[i] - parameters[i];
  }
  const std::span<float> mean = gap_.empty() ? drift_ : mean_;
  LACONIC_RETURN_IF_ERROR(exchange_->mean(drift_, mean));
  followed_ = follows_similarity() && similarity_.count > 0;
  outer_.apply(theta_, mean);
  const auto steps = static_cast<float>(since_round_ + 1);
  for (size_t i = 0; i < gap_.size(); ++i) {
    gap_[i] = (drift_[i] + corrected_ * gap_[i] - mean[i]) / steps;
  }
  corrected_ = 0;
  std::copy(theta_.begin(), theta_.end(), parameters.begin());
  exchange_->take_digest(theta_);
  return absl::OkStatus();
}

absl::Status Local::save_fields(core::StateWriter& writer) const {
  writer.text("local");
  writer.integer(step_);
  writer.integer(since_round_);
  writer.floats(theta_);
  writer.floats(outer_.velocity());
  if (follows_similarity() || !gap_.empty()) {
    writer.integer(inner_steps_);
    writer.integer(followed_ ? 1 : 0);
    writer.floats(std::array{similarity_.delta_square, similarity_.smoothness_square,
                             similarity_.count, corrected_});
    writer.floats(gap_);
  }
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status Local::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "local"));
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(since_round_, reader.integer("steps since the round", 0, step_));
  LACONIC_RETURN_IF_ERROR(reader.floats(theta_));
  LACONIC_RETURN_IF_ERROR(reader.floats(outer_.velocity()));
  if (follows_similarity() || !gap_.empty()) {
    LACONIC_ASSIGN_OR_RETURN(inner_steps_,
                             reader.integer("steps of a round", rounds_.inner_steps,
                                            std::max(rounds_.inner_steps, steps_max_)));
    LACONIC_ASSIGN_OR_RETURN(const int64_t followed, reader.integer("followed", 0, 1));
    followed_ = followed == 1;
    std::array<float, 4> numbers{};
    LACONIC_RETURN_IF_ERROR(reader.floats(numbers));
    similarity_ = {
        .delta_square = numbers[0], .smoothness_square = numbers[1], .count = numbers[2]};
    corrected_ = numbers[3];
    LACONIC_RETURN_IF_ERROR(reader.floats(gap_));
  }
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
