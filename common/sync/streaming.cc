#include "common/sync/streaming.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"
#include "common/sync/fragments.h"

namespace laconic::sync {
namespace {

constexpr int64_t kNoFlight = -1;

}  // namespace

absl::StatusOr<std::unique_ptr<Streaming>> Streaming::make(const core::ExchangeSpec& spec,
                                                           const core::Layout& layout,
                                                           collective::Communicator& communicator) {
  const core::FragmentSpec& fragments = spec.fragments;
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Fragment> cut,
                           cut_into_fragments(layout, fragments.count));
  const int64_t inner_steps = spec.rounds.inner_steps;
  if (fragments.delay_steps < 0 || fragments.delay_steps > inner_steps / fragments.count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "delay_steps is ", fragments.delay_steps, "; allowed: 0..inner_steps / ", "fragments, ",
        inner_steps / fragments.count, " here: one exchange ends before the next begins"));
  }
  if (!(fragments.keep >= 0 && fragments.keep <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("keep is ", fragments.keep, "; allowed: 0..1"));
  }
  std::unique_ptr<Streaming> made(new Streaming(spec, layout.elements()));
  for (size_t i = 0; i < cut.size(); ++i) {
    Part part{.begin = cut[i].begin,
              .elements = cut[i].layout.elements(),
              .first_step = static_cast<int64_t>(i + 1) * inner_steps / fragments.count,
              .exchange = nullptr};
    LACONIC_ASSIGN_OR_RETURN(part.exchange, MeanExchange::make(spec, cut[i].layout, communicator));
    made->parts_.push_back(std::move(part));
  }
  return made;
}

Streaming::Streaming(const core::ExchangeSpec& spec, int64_t elements)
    : steps_(spec.rounds.steps),
      inner_steps_(spec.rounds.inner_steps),
      delay_steps_(spec.fragments.delay_steps),
      keep_(spec.fragments.keep),
      outer_(spec.outer_rate, spec.outer_momentum, elements),
      theta_(static_cast<size_t>(elements)),
      drift_(static_cast<size_t>(elements)) {}

Streaming::~Streaming() {
  // The exchange ends with the communicator's deadline, or sooner if the transport is aborted.
  if (flight_.has_value() && flight_->done.valid()) {
    flight_->done.wait();
  }
}

std::span<float> Streaming::of(const Part& part, std::span<float> whole) const {
  return whole.subspan(static_cast<size_t>(part.begin), static_cast<size_t>(part.elements));
}

absl::Status Streaming::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, static_cast<int64_t>(theta_.size())));
  for (const Part& part : parts_) {
    LACONIC_RETURN_IF_ERROR(part.exchange->share_from_rank_0(of(part, view.parameters)));
  }
  std::copy(view.parameters.begin(), view.parameters.end(), theta_.begin());
  digest_ = core::digest(std::span<const float>(theta_));
  return absl::OkStatus();
}

absl::Status Streaming::reduce_gradients(ModelView view) {
  return check_view(view, static_cast<int64_t>(theta_.size()));
}

bool Streaming::is_due(const Part& part, int64_t step) const {
  return step >= part.first_step && (step - part.first_step) % inner_steps_ == 0;
}

std::span<float> Streaming::shared_parameters() {
  return flight_.has_value() ? std::span<float>() : std::span<float>(theta_);
}

collective::OpTag Streaming::next_tag() const {
  // Within H steps every fragment has its turn; the last step begins with the first.
  size_t next = 0;
  for (int64_t step = step_ + 1; step <= step_ + inner_steps_ && step != steps_; ++step) {
    const auto due = std::find_if(parts_.begin(), parts_.end(),
                                  [&](const Part& part) { return is_due(part, step); });
    if (due != parts_.end()) {
      next = static_cast<size_t>(due - parts_.begin());
      break;
    }
  }
  const MeanExchange& exchange = *parts_[next].exchange;
  return {.round = static_cast<uint64_t>(exchange.stats().rounds),
          .previous_digest = exchange.digest()};
}

absl::Status Streaming::end_step(ModelView view, bool last) {
  LACONIC_RETURN_IF_ERROR(check_view(view, static_cast<int64_t>(theta_.size())));
  ++step_;
  ended_ = false;
  absl::Status status = last ? end_run(view) : take_step(view);
  step_ -= status.ok() ? 0 : 1;
  return status;
}

// Called again after an error it goes on with the exchange that failed.
absl::Status Streaming::take_step(ModelView view) {
  if (flight_.has_value() && flight_->apply_step <= step_) {
    LACONIC_RETURN_IF_ERROR(apply(view, keep_));
  }
  absl::Status status;
  for (size_t i = 0; i < parts_.size() && status.ok(); ++i) {
    if (is_due(parts_[i], step_) && parts_[i].sent_step != step_) {
      status = take_turn(i, view);
    }
  }
  return status;
}

absl::Status Streaming::take_turn(size_t part, ModelView view) {
  LACONIC_RETURN_IF_ERROR(send(part, view));
  return delay_steps_ == 0 ? apply(view, keep_) : absl::OkStatus();
}

absl::Status Streaming::send(size_t part, ModelView view) {
  Part& sent = parts_[part];
  const std::span<float> parameters = of(sent, view.parameters);
  LACONIC_RETURN_IF_ERROR(check_finite(parameters, "the parameters", sent.exchange->rank(), step_));
  const std::span<float> theta = of(sent, theta_);
  const std::span<float> drift = of(sent, drift_);
  for (size_t i = 0; i < drift.size(); ++i) {
    drift[i] = theta[i] - parameters[i];
  }
  sent.sent_step = step_;
  MeanExchange* const exchange = sent.exchange.get();
  flight_ =
      Flight{.part = part,
             .apply_step = step_ + delay_steps_,
             .done = std::async(delay_steps_ == 0 ? std::launch::deferred : std::launch::async,
                                [exchange, drift] { return exchange->mean(drift, drift); }),
             .status = absl::OkStatus()};
  return absl::OkStatus();
}

absl::Status Streaming::settle() {
  if (flight_.has_value() && flight_->done.valid()) {
    flight_->status = flight_->done.get();
  }
  return flight_.has_value() ? flight_->status : absl::OkStatus();
}

absl::Status Streaming::apply(ModelView view, double keep) {
  const Part& part = parts_[flight_->part];
  if (!flight_->done.valid() && !flight_->status.ok()) {  // tried again: the drift is unchanged
    flight_->status = part.exchange->mean(of(part, drift_), of(part, drift_));
  }
  LACONIC_RETURN_IF_ERROR(settle());
  flight_.reset();
  const std::span<float> theta = of(part, theta_);
  outer_.apply(theta, of(part, drift_), part.begin);
  const std::span<float> parameters = of(part, view.parameters);
  for (size_t i = 0; i < parameters.size(); ++i) {
    // With keep 0 exactly theta, whatever the parameters are.
    parameters[i] =
        keep == 0 ? theta[i] : static_cast<float>(keep * parameters[i] + (1 - keep) * theta[i]);
  }
  part.exchange->take_digest(theta);
  digest_ = core::digest(std::span<const float>(theta_));
  take_stats();
  return absl::OkStatus();
}

absl::Status Streaming::end_run(ModelView view) {
  if (flight_.has_value()) {
    LACONIC_RETURN_IF_ERROR(apply(view, keep_));
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].sent_step == step_) {
      continue;  // this call is the second one
    }
    LACONIC_RETURN_IF_ERROR(send(i, view));
    LACONIC_RETURN_IF_ERROR(apply(view, /*keep=*/0));
  }
  std::copy(theta_.begin(), theta_.end(), view.parameters.begin());
  ended_ = true;
  return absl::OkStatus();
}

void Streaming::take_stats() {
  stats_ = {};
  stats_.rounds = parts_.front().exchange->stats().rounds;
  for (const Part& part : parts_) {
    const SyncStats& one = part.exchange->stats();
    stats_.rounds = std::min(stats_.rounds, one.rounds);
    stats_.compress_seconds += one.compress_seconds;
    stats_.exchange_seconds += one.exchange_seconds;
    stats_.decompress_seconds += one.decompress_seconds;
    if (one.decision.senders > 0) {
      stats_.decision = one.decision;  // the same for every fragment
    }
    stats_.residual_norm = std::hypot(stats_.residual_norm, one.residual_norm);
    stats_.update_norm = std::hypot(stats_.update_norm, one.update_norm);
    stats_.compression_error_ratio =
        std::max(stats_.compression_error_ratio, one.compression_error_ratio);
  }
}

absl::Status Streaming::save_fields(core::StateWriter& writer) const {
  if (flight_.has_value() && (flight_->done.valid() || !flight_->status.ok())) {
    return absl::FailedPreconditionError("an exchange is under way; call settle() first");
  }
  writer.text("streaming");
  writer.integer(static_cast<int64_t>(parts_.size()));
  writer.integer(step_);
  writer.integer(ended_ ? 1 : 0);
  writer.floats(theta_);
  writer.floats(outer_.velocity());
  writer.integer(flight_.has_value() ? static_cast<int64_t>(flight_->part) : kNoFlight);
  writer.integer(flight_.has_value() ? flight_->apply_step : 0);
  writer.floats(drift_);
  for (const Part& part : parts_) {
    writer.integer(part.sent_step);
    part.exchange->save(writer);
  }
  return absl::OkStatus();
}

absl::Status Streaming::restore_fields(core::StateReader& reader) {
  const auto parts = static_cast<int64_t>(parts_.size());
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "streaming"));
  LACONIC_RETURN_IF_ERROR(reader.integer("fragments", parts, parts).status());
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(const int64_t ended, reader.integer("end of the run", 0, 1));
  ended_ = ended == 1;
  LACONIC_RETURN_IF_ERROR(reader.floats(theta_));
  LACONIC_RETURN_IF_ERROR(reader.floats(outer_.velocity()));
  LACONIC_ASSIGN_OR_RETURN(const int64_t flying,
                           reader.integer("fragment under way", kNoFlight, parts - 1));
  LACONIC_ASSIGN_OR_RETURN(const int64_t apply_step,
                           reader.integer("step to apply it", 0, kStepsMax));
  LACONIC_RETURN_IF_ERROR(reader.floats(drift_));
  flight_.reset();
  if (flying != kNoFlight) {
    flight_ = Flight{.part = static_cast<size_t>(flying),
                     .apply_step = apply_step,
                     .done = {},
                     .status = absl::OkStatus()};
  }
  for (Part& part : parts_) {
    LACONIC_ASSIGN_OR_RETURN(part.sent_step, reader.integer("step of sending", 0, step_));
    LACONIC_RETURN_IF_ERROR(part.exchange->restore(reader));
  }
  digest_ = core::digest(std::span<const float>(theta_));
  take_stats();
  return absl::OkStatus();
}

}  // namespace laconic::sync
