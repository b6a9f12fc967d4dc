#include "common/sync/lazy.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/squared_norm.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

constexpr uint8_t kSilent = 0;
constexpr uint8_t kSent = 1;

double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

absl::Status check_spec(const core::ExchangeSpec& spec) {
  const core::LazySpec& lazy = spec.lazy;
  if (!(lazy.threshold >= 0 && lazy.threshold <= 1e6)) {
    return absl::InvalidArgumentError(
        absl::StrCat("lazy: threshold is ", lazy.threshold, "; allowed: 0..1e6"));
  }
  if (lazy.age_max < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("lazy: age_max is ", lazy.age_max, "; allowed: at least 0"));
  }
  if (!(lazy.momentum >= 0 && lazy.momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("lazy: momentum is ", lazy.momentum, "; allowed: 0 to below 1"));
  }
  if (lazy.inner_steps < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("lazy: inner_steps is ", lazy.inner_steps, "; allowed: at least 0"));
  }
  if (!(spec.outer_rate > 0 && spec.outer_rate <= 10) ||
      !(spec.outer_momentum >= 0 && spec.outer_momentum < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("lazy: outer_rate is ", spec.outer_rate,
                                                   ", outer_momentum ", spec.outer_momentum,
                                                   "; allowed: above 0, at most 10; 0 to below 1"));
  }
  if (spec.shared_index.has_value() || spec.half_residuals || spec.residual_decay != 1 ||
      (spec.error_feedback && (spec.feedback == core::FeedbackForm::kResidual) !=
                                  (lazy.silence == core::Silence::kCarry))) {
    return absl::InvalidArgumentError(
        "lazy: keeps what receivers hold, or what it owes, itself; allowed: no shared index, no "
        "residual in bfloat16, residual_decay 1, feedback EF21 or none, with carrying a residual");
  }
  if (lazy.silence == core::Silence::kCarry && lazy.rule != core::LazyRule::kClag) {
    return absl::InvalidArgumentError("lazy: silence CARRY goes with the rule CLAG alone");
  }
  if (spec.schedule != core::Schedule::kAuto && spec.schedule != core::Schedule::kAllGather) {
    return absl::InvalidArgumentError(absl::StrCat(
        "lazy: schedule ", core::schedule_name(spec.schedule), "; allowed: all_gather or auto"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lazy>> Lazy::make(std::unique_ptr<MeanExchange> exchange,
                                                 const core::ExchangeSpec& spec,
                                                 const core::Layout& layout) {
  LACONIC_RETURN_IF_ERROR(check_spec(spec));
  core::CodecSpec codec_spec = spec.codec;
  codec_spec.rank = exchange->rank();
  codec_spec.world_size = exchange->world_size();
  if (codec_spec.scaled) {
    return absl::InvalidArgumentError("lazy: scaled values do not contract; allowed: not scaled");
  }
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<compress::Codec> codec,
                           compress::make_codec(codec_spec, layout));
  return std::unique_ptr<Lazy>(new Lazy(std::move(exchange), std::move(codec), spec));
}

Lazy::Lazy(std::unique_ptr<MeanExchange> exchange, std::unique_ptr<compress::Codec> codec,
           const core::ExchangeSpec& spec)
    : exchange_(std::move(exchange)),
      codec_(std::move(codec)),
      spec_(spec),
      value_(static_cast<size_t>(exchange_->elements())),
      next_value_(value_.size()),
      held_(value_.size()),
      mean_(value_.size()),
      change_(value_.size()),
      theta_(spec.lazy.inner_steps > 0 ? value_.size() : 0),
      outer_(spec.outer_rate, spec.outer_momentum, static_cast<int64_t>(theta_.size())) {}

absl::Status Lazy::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(exchange_->share_from_rank_0(view.parameters));
  if (drift()) {
    std::copy(view.parameters.begin(), view.parameters.end(), theta_.begin());
  }
  return absl::OkStatus();
}

absl::Status Lazy::reduce_gradients(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  if (drift()) {
    return absl::OkStatus();
  }
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.gradients, "the gradients", exchange_->rank(), step_ + 1));
  LACONIC_RETURN_IF_ERROR(round(view.gradients));
  std::copy(mean_.begin(), mean_.end(), view.gradients.begin());
  return absl::OkStatus();
}

absl::Status Lazy::end_step(ModelView view, bool last) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  if (!drift()) {
    LACONIC_RETURN_IF_ERROR(
        check_finite(view.parameters, "the parameters", exchange_->rank(), step_ + 1));
    exchange_->take_digest(view.parameters);
    ++step_;
    return absl::OkStatus();
  }
  if (last || since_round_ + 1 >= spec_.lazy.inner_steps) {
    LACONIC_RETURN_IF_ERROR(
        check_finite(view.parameters, "the parameters", exchange_->rank(), step_ + 1));
    std::vector<float> drift(theta_.size());
    std::transform(theta_.begin(), theta_.end(), view.parameters.begin(), drift.begin(),
                   std::minus<>());
    LACONIC_RETURN_IF_ERROR(round(drift));
    outer_.apply(theta_, mean_);
    std::copy(theta_.begin(), theta_.end(), view.parameters.begin());
    exchange_->take_digest(theta_);
    since_round_ = 0;
  } else {
    ++since_round_;
  }
  ++step_;
  return absl::OkStatus();
}

absl::StatusOr<Lazy::Message> Lazy::make_message(std::span<const float> g) {
  const bool first = exchange_->stats().rounds == 0;
  const auto keep = static_cast<float>(first ? 0 : spec_.lazy.momentum);
  for (size_t i = 0; i < g.size(); ++i) {
    next_value_[i] = keep * value_[i] + (1.0F - keep) * g[i];
  }
  if (carries()) {
    std::transform(next_value_.begin(), next_value_.end(), held_.begin(), change_.begin(),
                   std::plus<>());
    owed_ = change_;
  } else {
    std::transform(next_value_.begin(), next_value_.end(), held_.begin(), change_.begin(),
                   std::minus<>());
  }
  Message message;
  message.state = state_;
  message.state.seed = static_cast<uint64_t>(exchange_->stats().rounds);
  message.input = compress::squared_norm(next_value_);
  LazyEvidence& evidence = message.evidence;
  evidence = {.rank = exchange_->rank(),
              .rounds = exchange_->stats().rounds,
              .age = static_cast<int32_t>(age_),
              .change = compress::squared_norm(change_),
              .step = carries() ? message.input : squared_distance(next_value_, value_),
              .error_of_last = error_of_last_};
  for (const float square : mean_squares_) {
    evidence.mean_square_sum += static_cast<double>(square);
  }
  if (carries() && !mean_squares_.empty()) {
    evidence.step = evidence.mean_square_sum / static_cast<double>(mean_squares_.size());
  }
  const std::shared_ptr<core::ByteBuffer> bytes = buffers_.take();
  const auto encode = [&]() -> absl::Status {
    bytes->resize(1 + static_cast<size_t>(codec_->payload_bytes_max()));
    LACONIC_ASSIGN_OR_RETURN(const size_t size,
                             codec_->encode(change_, message.state, bytes->bytes().subspan(1)));
    bytes->resize(1 + size);
    bytes->data()[0] = kSent;
    return absl::OkStatus();
  };
  // LAQ's question is about the encoded message, CLAG's is not: a silent rank then encodes nothing.
  if (spec_.lazy.rule == core::LazyRule::kLaq) {
    LACONIC_RETURN_IF_ERROR(encode());
    std::vector<float> sent(change_.size());
    LACONIC_RETURN_IF_ERROR(codec_->decode(bytes->bytes().subspan(1), sent));
    evidence.message = compress::squared_norm(sent);
    evidence.error = squared_distance(change_, sent);
  }
  message.reason = decide(spec_.lazy, evidence);
  if (message.reason == RoundReason::kSmallChange) {
    bytes->resize(1);
    bytes->data()[0] = kSilent;
  } else if (spec_.lazy.rule != core::LazyRule::kLaq) {
    LACONIC_RETURN_IF_ERROR(encode());
  }
  message.bytes = bytes;
  return message;
}

absl::StatusOr<int> Lazy::add_up(const std::vector<collective::Payload>& messages) {
  std::fill(change_.begin(), change_.end(), 0.0F);
  int senders = 0;
  for (size_t rank = 0; rank < messages.size(); ++rank) {
    const std::span<const uint8_t> bytes = messages[rank].bytes();
    absl::Status status;
    if (bytes.empty() || bytes[0] > kSent || (bytes[0] == kSilent && bytes.size() > 1)) {
      status = absl::DataLossError(
          absl::StrCat("a lazy message of ", bytes.size(), " bytes that begins with ",
                       bytes.empty() ? 0 : bytes[0], "; allowed: 0 alone, or 1 and a payload"));
    } else if (bytes[0] == kSent) {
      status = codec_->decode_add(bytes.subspan(1), 1.0F, change_);
      ++senders;
    }
    if (!status.ok()) {
      return compress::payload_error(rank, status);
    }
  }
  return senders;
}

absl::Status Lazy::round(std::span<const float> g) {
  Message message;
  {
    double seconds = 0;
    {
      const Stopwatch watch(seconds);
      LACONIC_ASSIGN_OR_RETURN(message, make_message(g));
    }
    exchange_->add_compress_seconds(seconds);
  }
  LACONIC_ASSIGN_OR_RETURN(
      const std::vector<collective::Payload> messages,
      exchange_->gather(collective::Payload(message.bytes), 1 + codec_->payload_bytes_max()));
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    LACONIC_ASSIGN_OR_RETURN(const int senders, add_up(messages));
    LACONIC_RETURN_IF_ERROR(commit(message, senders));
  }
  exchange_->add_decompress_seconds(seconds);
  return absl::OkStatus();
}

// Nothing below can fail but for a bug of ours.
absl::Status Lazy::commit(const Message& message, int senders) {
  const bool sent = message.reason != RoundReason::kSmallChange;
  if (carries()) {
    std::swap(held_, owed_);
    std::fill(mean_.begin(), mean_.end(), 0.0F);
  }
  if (sent) {
    const absl::Status status =
        codec_->decode_add(message.bytes->bytes().subspan(1), carries() ? -1.0F : 1.0F, held_);
    if (!status.ok()) {
      return absl::InternalError(
          absl::StrCat("lazy: our own message does not decode: ", status.message()));
    }
    state_ = message.state;
  }
  const auto world = static_cast<float>(exchange_->world_size());
  for (size_t i = 0; i < mean_.size(); ++i) {
    mean_[i] += change_[i] / world;
  }
  std::swap(value_, next_value_);
  const double missed = carries() ? compress::squared_norm(held_) : squared_distance(value_, held_);
  age_ = sent ? 0 : age_ + 1;
  error_of_last_ = sent ? static_cast<float>(missed) : error_of_last_;
  mean_squares_.push_back(
      static_cast<float>(carries() ? message.input : compress::squared_norm(mean_)));
  if (mean_squares_.size() > kLaqRounds) {
    mean_squares_.pop_front();
  }
  const double change = message.evidence.change;
  exchange_->end_round({.reason = message.reason, .senders = senders},
                       {.input = std::sqrt(message.input),
                        .residual = std::sqrt(missed),
                        .compression_error_ratio = sent && change > 0 ? missed / change : 0,
                        .owed = std::sqrt(change)});
  return absl::OkStatus();
}

absl::Status Lazy::save_fields(core::StateWriter& writer) const {
  writer.text("lazy");
  exchange_->save(writer);
  for (const int64_t number : {step_, since_round_, age_}) {
    writer.integer(number);
  }
  writer.floats(std::span(&error_of_last_, 1));
  const std::vector<float> squares(mean_squares_.begin(), mean_squares_.end());
  writer.floats(squares);
  for (const auto* vector : {&value_, &held_, &mean_, &theta_}) {
    writer.floats(*vector);
  }
  writer.floats(outer_.velocity());
  compress::save_state(state_, writer);
  return absl::OkStatus();
}

absl::Status Lazy::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "lazy"));
  LACONIC_RETURN_IF_ERROR(exchange_->restore(reader));
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(since_round_, reader.integer("steps since the round", 0, step_));
  LACONIC_ASSIGN_OR_RETURN(age_, reader.integer("age", 0, std::numeric_limits<int32_t>::max() - 1));
  LACONIC_RETURN_IF_ERROR(reader.floats(std::span(&error_of_last_, 1)));
  const size_t known = reader.next_length();
  if (known > kLaqRounds) {
    return absl::DataLossError(
        absl::StrCat("state: ", known, " rounds are known, allowed: at most ", kLaqRounds));
  }
  std::vector<float> squares(known);
  LACONIC_RETURN_IF_ERROR(reader.floats(squares));
  mean_squares_.assign(squares.begin(), squares.end());
  for (auto* vector : {&value_, &held_, &mean_, &theta_}) {
    LACONIC_RETURN_IF_ERROR(reader.floats(*vector));
  }
  LACONIC_RETURN_IF_ERROR(reader.floats(outer_.velocity()));
  return compress::restore_state(reader, exchange_->elements(), state_);
}

}  // namespace laconic::sync
