#include "common/sync/mean_exchange.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/ef21.h"
#include "common/compress/squared_norm.h"
#include "common/core/codec_name.h"
#include "common/core/digest.h"
#include "common/core/schedule_choice.h"
#include "common/core/status_macros.h"
#include "common/sync/support_overlap.h"

namespace laconic::sync {
namespace {

absl::Status check_feedback(const core::ExchangeSpec& spec) {
  if (!(spec.residual_decay >= 0 && spec.residual_decay <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("residual_decay is ", spec.residual_decay, "; allowed: 0..1"));
  }
  if (!spec.error_feedback || spec.feedback == core::FeedbackForm::kResidual) {
    return absl::OkStatus();
  }
  // The mean that all ranks keep is changed by every rank's own bytes, not by a mean made anew.
  if (spec.schedule != core::Schedule::kAuto && spec.schedule != core::Schedule::kAllGather) {
    return absl::InvalidArgumentError(
        absl::StrCat("EF21 with the schedule ", core::schedule_name(spec.schedule),
                     "; allowed: all_gather, or auto, which is all_gather then"));
  }
  if (spec.codec.kind == core::CodecKind::kNone || spec.residual_decay != 1 ||
      spec.half_residuals) {
    return absl::InvalidArgumentError(
        absl::StrCat("EF21 with codec ", static_cast<int>(spec.codec.kind), ", residual_decay ",
                     spec.residual_decay, spec.half_residuals ? " and bfloat16 residuals" : "",
                     "; allowed: a lossy codec, 1, and no residuals in bfloat16"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MeanExchange>> MeanExchange::make(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator) {
  if (layout.elements() < 1) {
    return absl::InvalidArgumentError("the model has no parameters: there is nothing to train");
  }
  LACONIC_RETURN_IF_ERROR(check_feedback(spec));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<MeanExchange> made,
                           spec.shared_index.has_value()
                               ? make_shared_index(spec, layout, communicator)
                               : make_plain(spec, layout, communicator));
  made->identity_ =
      absl::StrCat("rank ", communicator.rank(), " of ", communicator.world_size(), ", layout ",
                   core::format_digest(layout.hash()), ", ", core::schedule_name(made->schedule_),
                   ", ", core::codec_name(spec.codec),
                   !spec.shared_index.has_value()  ? ""
                   : spec.shared_index->by_overlap ? ", shared index by overlap"
                                                   : ", shared index",
                   spec.error_feedback ? ", feedback " : ", form ", static_cast<int>(spec.feedback),
                   spec.half_residuals ? " in bfloat16" : "");
  return made;
}

absl::StatusOr<std::unique_ptr<MeanExchange>> MeanExchange::make_plain(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator) {
  const bool ef21 = spec.error_feedback && spec.feedback == core::FeedbackForm::kEf21;
  const bool dense = spec.codec.kind == core::CodecKind::kNone;
  core::CodecSpec codec_spec = spec.codec;
  codec_spec.rank = communicator.rank();
  codec_spec.world_size = communicator.world_size();
  std::unique_ptr<compress::Codec> codec;
  if (!dense) {  // Made first: it checks the spec, which sizes and schedule follow from.
    LACONIC_ASSIGN_OR_RETURN(codec, compress::make_codec(codec_spec, layout));
  }
  const core::Schedule asked = ef21 ? core::Schedule::kAllGather : spec.schedule;
  const core::Schedule schedule =
      core::choose_schedule(asked, spec.codec, layout, communicator.world_size());
  std::unique_ptr<MeanExchange> made(new MeanExchange(schedule, layout.elements(), communicator));
  if (dense && schedule == core::Schedule::kSharded) {
    return made;
  }
  if (!dense && schedule == core::Schedule::kAllGather) {
    made->codec_ = std::move(codec);
    if (ef21) {
      made->feedback_ = std::make_unique<compress::Ef21>(*made->codec_);
      made->mean_state_.resize(static_cast<size_t>(layout.elements()));
    } else {
      made->feedback_ = compress::make_error_feedback(*made->codec_, spec.error_feedback,
                                                      spec.residual_decay, spec.half_residuals);
    }
    return made;
  }
  LACONIC_ASSIGN_OR_RETURN(
      made->scheduled_,
      collective::ScheduledMean::make({.rank = communicator.rank(),
                                       .world_size = communicator.world_size(),
                                       .schedule = schedule,
                                       .codec = codec_spec,
                                       .layout = layout,
                                       .ranks_per_site = std::max(1, spec.ranks_per_site),
                                       .error_feedback = spec.error_feedback && !dense,
                                       .residual_decay = spec.residual_decay,
                                       .half_residuals = spec.half_residuals}));
  return made;
}

absl::StatusOr<std::unique_ptr<MeanExchange>> MeanExchange::make_shared_index(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator) {
  if (spec.codec.kind != core::CodecKind::kNone || spec.half_residuals) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared index with codec ", static_cast<int>(spec.codec.kind),
                     spec.half_residuals ? " and bfloat16 residuals" : "",
                     "; allowed: no codec beside it, float32 residuals"));
  }
  const core::Schedule schedule =
      spec.schedule == core::Schedule::kAuto ? core::Schedule::kSharded : spec.schedule;
  std::unique_ptr<MeanExchange> made(new MeanExchange(schedule, layout.elements(), communicator));
  LACONIC_ASSIGN_OR_RETURN(made->shared_index_, collective::SharedIndexMean::make(
                                                    {.rank = communicator.rank(),
                                                     .world_size = communicator.world_size(),
                                                     .schedule = schedule,
                                                     .spec = *spec.shared_index,
                                                     .elements = layout.elements(),
                                                     .error_feedback = spec.error_feedback,
                                                     .residual_decay = spec.residual_decay}));
  if (spec.shared_index->by_overlap) {
    LACONIC_ASSIGN_OR_RETURN(
        made->codec_, compress::make_codec(core::own_index_codec(*spec.shared_index), layout));
    made->feedback_ = compress::make_error_feedback(*made->codec_, spec.error_feedback,
                                                    spec.residual_decay, /*half=*/false);
    made->overlap_wanted_ =
        core::overlap_wanted(*spec.shared_index, layout, communicator.world_size());
    made->shares_index_ = false;
  }
  return made;
}

MeanExchange::MeanExchange(core::Schedule schedule, int64_t elements,
                           collective::Communicator& communicator)
    : schedule_(schedule), elements_(elements), communicator_(communicator) {}

absl::StatusOr<bool> MeanExchange::starts_alike(std::span<const float> parameters) {
  const uint64_t own = core::digest(parameters);
  std::vector<uint8_t> payload(sizeof(own));
  std::memcpy(payload.data(), &own, sizeof(own));  // Compared as bytes, never read as a number.
  LACONIC_ASSIGN_OR_RETURN(
      const std::vector<collective::Payload> gathered,
      communicator_.all_gather(collective::Payload(std::move(payload)), sizeof(own), tag()));
  // Every rank compares the same list, so all come to the same answer.
  return std::all_of(gathered.begin(), gathered.end(), [&](const collective::Payload& other) {
    return std::ranges::equal(other.bytes(), gathered[0].bytes());
  });
}

absl::Status MeanExchange::share_from_rank_0(std::span<float> parameters) {
  LACONIC_ASSIGN_OR_RETURN(const bool alike, starts_alike(parameters));
  if (!alike) {
    LACONIC_RETURN_IF_ERROR(copy_from_rank_0(parameters));
  }
  take_digest(parameters);
  return absl::OkStatus();
}

absl::Status MeanExchange::copy_from_rank_0(std::span<float> parameters) {
  const auto bytes = std::as_bytes(parameters);
  std::vector<uint8_t> payload;
  if (communicator_.rank() == 0) {
    payload.resize(bytes.size());
    std::memcpy(payload.data(), bytes.data(), bytes.size());
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<collective::Payload> gathered,
                           communicator_.all_gather(collective::Payload(std::move(payload)),
                                                    static_cast<int64_t>(bytes.size()), tag()));
  if (gathered[0].size != bytes.size()) {
    return absl::DataLossError(absl::StrCat("rank 0 sent ", gathered[0].size,
                                            " bytes of parameters, the model has ", bytes.size()));
  }
  std::memcpy(parameters.data(), gathered[0].data, bytes.size());
  return absl::OkStatus();
}

absl::Status MeanExchange::mean(std::span<const float> v, std::span<float> out) {
  const bool shared = shared_index_ != nullptr && shares_index_;
  LACONIC_RETURN_IF_ERROR(shared                  ? shared_index_mean(v, out)
                          : scheduled_ != nullptr ? scheduled_mean(v, out)
                          : codec_ != nullptr     ? gathered_mean(v, out)
                                                  : dense_mean(v, out));
  ++stats_.rounds;
  stats_.decision = {
      .reason = shared && feedback_ != nullptr ? RoundReason::kOverlap : RoundReason::kEveryRound,
      .senders = world_size(),
      .overlap = overlap_};
  return absl::OkStatus();
}

void MeanExchange::watch_overlap(const std::vector<collective::Payload>& payloads) {
  if ((stats_.rounds + 1) % kOverlapEvery != 0) {
    return;
  }
  const auto leader = static_cast<size_t>(stats_.rounds % world_size());
  // All ranks hold the same payloads, which were decoded before: all come to the same answer.
  overlap_ = static_cast<float>(support_overlap(payloads, elements_, leader).value_or(0));
  if (overlap_ >= overlap_wanted_) {
    shared_index_->take_over(*feedback_);
    shares_index_ = true;
  }
}

absl::StatusOr<std::vector<collective::Payload>> MeanExchange::gather(
    const collective::Payload& payload, int64_t payload_bytes_max) {
  const Stopwatch watch(stats_.exchange_seconds);
  return communicator_.all_gather(payload, payload_bytes_max, tag());
}

absl::Status MeanExchange::mean_of(std::span<float> in_out) {
  const Stopwatch watch(stats_.exchange_seconds);
  return communicator_.all_reduce_mean(in_out, tag());
}

void MeanExchange::end_round(const RoundDecision& decision, const compress::FeedbackNorms& norms) {
  take_norms(norms);
  stats_.decision = decision;
  ++stats_.rounds;
}

void MeanExchange::save(core::StateWriter& writer) const {
  writer.text(identity_);
  writer.integer(stats_.rounds);
  writer.integer(static_cast<int64_t>(stats_.decision.reason));
  writer.integer(stats_.decision.senders);
  writer.integer(static_cast<int64_t>(digest_));
  writer.floats(mean_state_);
  if (feedback_ != nullptr) {
    feedback_->save(writer);
  } else if (scheduled_ != nullptr) {
    scheduled_->save(writer);
  }
  if (shared_index_ != nullptr) {
    writer.integer(shares_index_ ? 1 : 0);
    writer.floats({&overlap_, 1});
    shared_index_->save(writer);
  }
}

absl::Status MeanExchange::restore(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("exchange", identity_));
  LACONIC_ASSIGN_OR_RETURN(stats_.rounds, reader.integer("rounds", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(const int64_t reason,
                           reader.integer("reason", 0, static_cast<int64_t>(kLastRoundReason)));
  LACONIC_ASSIGN_OR_RETURN(const int64_t senders, reader.integer("senders", 0, world_size()));
  stats_.decision = {.reason = static_cast<RoundReason>(reason),
                     .senders = static_cast<int>(senders)};
  LACONIC_ASSIGN_OR_RETURN(const int64_t digest, reader.integer());
  digest_ = static_cast<uint64_t>(digest);
  LACONIC_RETURN_IF_ERROR(reader.floats(mean_state_));
  LACONIC_RETURN_IF_ERROR(feedback_ != nullptr    ? feedback_->restore(reader)
                          : scheduled_ != nullptr ? scheduled_->restore(reader)
                                                  : absl::OkStatus());
  if (shared_index_ == nullptr) {
    return absl::OkStatus();
  }
  LACONIC_ASSIGN_OR_RETURN(const int64_t shares,
                           reader.integer("shares", feedback_ == nullptr ? 1 : 0, 1));
  shares_index_ = shares == 1;
  LACONIC_RETURN_IF_ERROR(reader.floats({&overlap_, 1}));
  stats_.decision.overlap = overlap_;
  return shared_index_->restore(reader);
}

void MeanExchange::take_digest(std::span<const float> parameters) {
  digest_ = core::digest(parameters);
}

collective::OpTag MeanExchange::tag() const {
  return {.round = static_cast<uint64_t>(stats_.rounds), .previous_digest = digest_};
}

absl::Status MeanExchange::dense_mean(std::span<const float> v, std::span<float> out) {
  // Before the exchange: in place, v is gone afterwards.
  const double update_norm = std::sqrt(compress::squared_norm(v));
  {
    const Stopwatch watch(stats_.exchange_seconds);
    LACONIC_RETURN_IF_ERROR(communicator_.all_reduce_mean(v, out, tag()));
  }
  stats_.update_norm = update_norm;
  return absl::OkStatus();
}

absl::Status MeanExchange::gathered_mean(std::span<const float> v, std::span<float> out) {
  std::shared_ptr<const core::ByteBuffer> payload;
  {
    const Stopwatch watch(stats_.compress_seconds);
    LACONIC_ASSIGN_OR_RETURN(payload, feedback_->encode(v, tag().round));
  }
  absl::StatusOr<std::vector<collective::Payload>> payloads;
  {
    const Stopwatch watch(stats_.exchange_seconds);
    payloads =
        communicator_.all_gather(collective::Payload(payload), codec_->payload_bytes_max(), tag());
  }
  const Stopwatch watch(stats_.decompress_seconds);
  // EF21's payloads are changes of the mean.
  const std::span<float> made = mean_state_.empty() ? place_for_mean(v, out) : scratch();
  absl::Status status = payloads.ok() ? decode_mean(*payloads, made) : payloads.status();
  if (!status.ok()) {
    feedback_->rollback();
    return status;
  }
  LACONIC_ASSIGN_OR_RETURN(const compress::FeedbackNorms norms, feedback_->commit());
  if (!mean_state_.empty()) {
    std::transform(made.begin(), made.end(), mean_state_.begin(), mean_state_.begin(),
                   [](float change, float state) { return state + change; });
    std::copy(mean_state_.begin(), mean_state_.end(), out.begin());
  } else if (made.data() != out.data()) {
    std::copy(made.begin(), made.end(), out.begin());
  }
  take_norms(norms);
  if (shared_index_ != nullptr) {
    watch_overlap(*payloads);
  }
  return absl::OkStatus();
}

absl::Status MeanExchange::scheduled_mean(std::span<const float> v, std::span<float> out) {
  const std::span<float> made = place_for_mean(v, out);
  {
    const Stopwatch watch(stats_.exchange_seconds);
    LACONIC_RETURN_IF_ERROR(scheduled_->run(communicator_, v, tag(), made));
  }
  const Stopwatch watch(stats_.decompress_seconds);
  LACONIC_ASSIGN_OR_RETURN(const compress::FeedbackNorms norms, scheduled_->commit());
  take_norms(norms);
  if (made.data() != out.data()) {
    std::copy(made.begin(), made.end(), out.begin());
  }
  return absl::OkStatus();
}

absl::Status MeanExchange::shared_index_mean(std::span<const float> v, std::span<float> out) {
  const Stopwatch watch(stats_.exchange_seconds);
  LACONIC_RETURN_IF_ERROR(shared_index_->run(communicator_, v, tag()));
  LACONIC_ASSIGN_OR_RETURN(const compress::FeedbackNorms norms, shared_index_->commit());
  take_norms(norms);
  shared_index_->write_mean(out);
  return absl::OkStatus();
}

std::span<float> MeanExchange::scratch() {
  scratch_.resize(static_cast<size_t>(elements_));
  return scratch_;
}

std::span<float> MeanExchange::place_for_mean(std::span<const float> v, std::span<float> out) {
  return v.data() == out.data() ? scratch() : out;
}

void MeanExchange::take_norms(const compress::FeedbackNorms& norms) {
  stats_.update_norm = norms.input;
  stats_.residual_norm = norms.residual;
  stats_.compression_error_ratio = norms.compression_error_ratio;
}

absl::Status MeanExchange::decode_mean(const std::vector<collective::Payload>& payloads,
                                       std::span<float> out) const {
  std::vector<std::span<const uint8_t>> bytes;
  bytes.reserve(payloads.size());
  for (const collective::Payload& payload : payloads) {
    bytes.push_back(payload.bytes());
  }
  return codec_->decode_mean(bytes, out);
}

absl::Status check_finite(std::span<const float> values, const char* what, int rank, int64_t step) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("diverged at step ", step, ": element ", i, " of ", what, " of rank ", rank,
                       " is ", values[i], "; lower the learning rate, or look at the data"));
    }
  }
  return absl::OkStatus();
}

absl::Status check_own_codec(const char* method, const core::ExchangeSpec& spec,
                             core::Schedule own) {
  if (spec.codec.kind != core::CodecKind::kNone || spec.error_feedback ||
      spec.shared_index.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(method,
                     ": compresses itself; allowed: no codec, error feedback or shared "
                     "index beside it"));
  }
  if (spec.schedule != core::Schedule::kAuto && spec.schedule != own) {
    return absl::InvalidArgumentError(
        absl::StrCat(method, ": schedule ", core::schedule_name(spec.schedule),
                     "; allowed: auto or ", core::schedule_name(own)));
  }
  return absl::OkStatus();
}

absl::Status check_view(const ModelView& view, int64_t elements) {
  if (view.parameters.size() != static_cast<size_t>(elements) ||
      view.gradients.size() != static_cast<size_t>(elements)) {
    return absl::InvalidArgumentError(absl::StrCat("the view has ", view.parameters.size(),
                                                   " parameters and ", view.gradients.size(),
                                                   " gradients, the layout has ", elements));
  }
  return absl::OkStatus();
}

}  // namespace laconic::sync
