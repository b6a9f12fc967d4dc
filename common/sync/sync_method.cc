#include "common/sync/sync_method.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/sync/demo.h"
#include "common/sync/dense.h"
#include "common/sync/ef21_momentum.h"
#include "common/sync/lazy.h"
#include "common/sync/local.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/power_sgd.h"
#include "common/sync/streaming.h"

namespace laconic::sync {
namespace {

absl::Status check_local(const core::ExchangeSpec& spec) {
  const core::RoundSchedule& rounds = spec.rounds;
  if (rounds.inner_steps < 1 && rounds.rounds == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("inner_steps is ", rounds.inner_steps, "; allowed: at least 1"));
  }
  if (rounds.rounds < 0 || (rounds.rounds > 0 && rounds.rounds > rounds.steps) ||
      !(rounds.growth > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rounds is ", rounds.rounds, " of ", rounds.steps, " steps with growth ",
                     rounds.growth, "; allowed: 0..steps, growth above 0"));
  }
  if (rounds.rounds > 0 && spec.fragments.used()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rounds is ", rounds.rounds, " with fragments; allowed: inner_steps"));
  }
  if (!(spec.outer_rate > 0 && spec.outer_rate <= 10)) {
    return absl::InvalidArgumentError(
        absl::StrCat("outer_rate is ", spec.outer_rate, "; allowed: above 0, at most 10"));
  }
  if (!(spec.outer_momentum >= 0 && spec.outer_momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("outer_momentum is ", spec.outer_momentum, "; allowed: 0 to below 1"));
  }
  if (spec.inner_steps_max != 0 &&
      (rounds.rounds > 0 || spec.fragments.used() || spec.inner_steps_max < rounds.inner_steps)) {
    return absl::InvalidArgumentError(
        absl::StrCat("inner_steps_max is ", spec.inner_steps_max,
                     "; allowed: at least inner_steps, without rounds and fragments"));
  }
  if (!(spec.shift >= 0 && spec.shift <= 1) || (spec.shift > 0 && spec.fragments.used())) {
    return absl::InvalidArgumentError(
        absl::StrCat("shift is ", spec.shift, "; allowed: 0..1, without fragments"));
  }
  return absl::OkStatus();
}

absl::Status check_ef21(const core::ExchangeSpec& spec) {
  if (!(spec.ef21_momentum >= 0 && spec.ef21_momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("ef21: momentum is ", spec.ef21_momentum, "; allowed: 0 to below 1"));
  }
  if (!spec.error_feedback || spec.feedback != core::FeedbackForm::kEf21) {
    return absl::InvalidArgumentError("ef21: the form of error feedback must be EF21");
  }
  return absl::OkStatus();
}

bool makes_own_messages(core::Method method) {
  return method == core::Method::kLazy || method == core::Method::kPowerSgd ||
         method == core::Method::kDemo;
}

// What is left for the exchange of a method that makes its own messages: float32.
core::ExchangeSpec without_codec(core::ExchangeSpec spec) {
  spec.codec = {};
  spec.shared_index.reset();
  spec.error_feedback = false;
  spec.half_residuals = false;
  spec.residual_decay = 1;
  spec.schedule = core::Schedule::kSharded;
  return spec;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> SyncMethod::save() const {
  core::StateWriter writer;
  LACONIC_RETURN_IF_ERROR(save_fields(writer));
  return std::move(writer).take();
}

absl::Status SyncMethod::restore(std::span<const uint8_t> bytes) {
  LACONIC_ASSIGN_OR_RETURN(core::StateReader reader, core::StateReader::open(bytes));
  LACONIC_RETURN_IF_ERROR(restore_fields(reader));
  return reader.done();
}

absl::Status SyncMethod::save_fields(core::StateWriter& /*writer*/) const {
  return absl::UnimplementedError("the state of this method cannot be saved");
}

absl::Status SyncMethod::restore_fields(core::StateReader& /*reader*/) {
  return absl::UnimplementedError("the state of this method cannot be restored");
}

absl::StatusOr<std::unique_ptr<SyncMethod>> make_sync_method(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator) {
  if (spec.method == core::Method::kLocal) {
    LACONIC_RETURN_IF_ERROR(check_local(spec));
    if (spec.fragments.used()) {
      return Streaming::make(spec, layout, communicator);
    }
  }
  LACONIC_ASSIGN_OR_RETURN(
      std::unique_ptr<MeanExchange> exchange,
      MeanExchange::make(makes_own_messages(spec.method) ? without_codec(spec) : spec, layout,
                         communicator));
  switch (spec.method) {
    case core::Method::kDense:
      return std::make_unique<Dense>(std::move(exchange));
    case core::Method::kLocal:
      return std::make_unique<Local>(std::move(exchange), spec);
    case core::Method::kLazy:
      return Lazy::make(std::move(exchange), spec, layout);
    case core::Method::kPowerSgd:
      return PowerSgd::make(std::move(exchange), spec, layout);
    case core::Method::kDemo:
      return Demo::make(std::move(exchange), spec, layout);
    case core::Method::kEf21:
      LACONIC_RETURN_IF_ERROR(check_ef21(spec));
      return std::make_unique<Ef21Momentum>(std::move(exchange), spec.ef21_momentum);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown method ", static_cast<int>(spec.method)));
}

}  // namespace laconic::sync
