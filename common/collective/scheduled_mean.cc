#include "common/collective/scheduled_mean.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/squared_norm.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

static_assert(core::kPartBytesMax <= kFramePayloadBytesMax);

// Messages of one step that are sent to a peer ahead of those received. With the lag of a schedule
// they must stay within the queue on both sides, or two ranks could wait for room at each other.
constexpr size_t kMessagesAhead = 8;
constexpr int64_t kMessagesWaitingMax =
    int64_t{2} * (2 * kLagMax + 2) + static_cast<int64_t>(kMessagesAhead);
static_assert(kMessagesWaitingMax * (kFrameHeaderBytes + kFramePayloadBytesMax) <= kQueueBytesMax);

size_t at(int index) {
  return static_cast<size_t>(index);
}

// Floats travel as they lie in memory; every machine this builds on is little-endian.
Payload to_payload(std::span<const float> values) {
  const auto bytes = std::make_shared<core::ByteBuffer>(values.size_bytes());
  if (!values.empty()) {
    std::memcpy(bytes->data(), values.data(), values.size_bytes());
  }
  return Payload(bytes);
}
// The stretch of a part that travels as its tile-th frame of float32.
constexpr size_t kTileElements = kFramePayloadBytesMax / sizeof(float);
template <typename Float>
std::span<Float> tile_of(std::span<Float> part, int tile) {
  const size_t begin = static_cast<size_t>(tile) * kTileElements;
  return part.subspan(begin, std::min(kTileElements, part.size() - begin));
}
Payload tile_of(const Payload& part, int tile) {
  const auto total = static_cast<int64_t>(part.size);
  return part.slice(static_cast<size_t>(tile) * kFramePayloadBytesMax,
                    static_cast<size_t>(tile_bytes(total, tile)));
}
void copy_floats(std::span<const uint8_t> bytes, std::span<float> out) {
  if (!out.empty()) {
    std::memcpy(out.data(), bytes.data(), out.size_bytes());
  }
}
void add_floats(std::span<const uint8_t> bytes, std::span<float> sum) {
  for (size_t i = 0; i < sum.size(); ++i) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
    sum[i] += value;
  }
}

double sum_of(const std::vector<std::unique_ptr<compress::Feedback>>& stage) {
  double sum = 0;
  for (const auto& feedback : stage) {
    if (feedback != nullptr) {
      sum += feedback->owed_sum();
    }
  }
  return sum;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScheduledMean>> ScheduledMean::make(
    const ScheduledMeanOptions& options) {
  std::unique_ptr<ScheduledMean> made(new ScheduledMean(options));
  LACONIC_ASSIGN_OR_RETURN(ScheduledWork work, plan_scheduled_work(options));
  made->parts_ = std::move(work.parts);
  made->list_ = std::move(work.list);
  made->states_.resize(made->parts_.size());
  int64_t largest = 0;
  for (const core::Part& part : made->parts_) {
    largest = std::max(largest, part.elements);
  }
  made->sum_.resize(static_cast<size_t>(largest));
  LACONIC_RETURN_IF_ERROR(made->make_codecs(options));
  made->meets_all_of_v_ = made->meets_all_of_v();
  return made;
}

ScheduledMean::ScheduledMean(const ScheduledMeanOptions& options)
    : rank_(options.rank), world_size_(options.world_size), elements_(options.layout.elements()) {}

bool ScheduledMean::meets_all_of_v() const {
  for (const Step& step : list_.steps) {
    const auto is_float = [](const Message& message) { return message.form == Form::kFloat32; };
    if (std::any_of(step.sends.begin(), step.sends.end(), is_float) ||
        std::any_of(step.receives.begin(), step.receives.end(), is_float)) {
      return false;  // Sums of several ranks are encoded here.
    }
  }
  int64_t met = 0;
  for (size_t part = 0; part < parts_.size(); ++part) {
    const bool once = stage_1_[part] != nullptr || stage_2_[part] != nullptr;
    met += once ? parts_[part].elements : 0;
  }
  return met == elements_;
}

absl::Status ScheduledMean::make_codecs(const ScheduledMeanOptions& options) {
  codecs_.resize(parts_.size());
  stage_1_.resize(parts_.size());
  stage_2_.resize(parts_.size());
  forwarded_.resize(parts_.size());
  if (options.codec.kind != core::CodecKind::kNone ||
      options.schedule == core::Schedule::kAllGather) {
    for (size_t part = 0; part < parts_.size(); ++part) {
      LACONIC_ASSIGN_OR_RETURN(codecs_[part],
                               compress::make_codec(options.codec, parts_[part].layout));
    }
  }
  const auto feedback = [&](int part) {
    return compress::make_error_feedback(*codecs_[at(part)], options.error_feedback,
                                         options.residual_decay, options.half_residuals);
  };
  for (const Step& step : list_.steps) {
    for (const Message& message : step.sends) {
      const bool own = message.origin == rank_;
      forwarded_[at(message.part)] =
          forwarded_[at(message.part)] || message.content == Content::kResult;
      if (own && message.content == Content::kSum && message.form == Form::kEncoded &&
          stage_1_[at(message.part)] == nullptr) {
        stage_1_[at(message.part)] = feedback(message.part);
      }
    }
    for (const Finish& finish : step.finishes) {
      if (finish.encode) {
        stage_2_[at(finish.part)] = feedback(finish.part);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ScheduledMean::run(Communicator& communicator, std::span<const float> v,
                                const OpTag& tag, std::span<float> out) {
  if (static_cast<int64_t>(v.size()) != elements_ || (!out.empty() && out.size() != v.size())) {
    return absl::InvalidArgumentError(absl::StrCat("scheduled mean: ", v.size(), " elements in, ",
                                                   out.size(), " out, the layout has ", elements_));
  }
  if (communicator.rank() != rank_ || communicator.world_size() != world_size_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "scheduled mean: made for rank ", rank_, " of ", world_size_, ", the communicator is rank ",
        communicator.rank(), " of ", communicator.world_size()));
  }
  if (out.empty()) {
    own_mean_.resize(v.size());
  }
  mean_ = out.empty() ? std::span<float>(own_mean_) : out;
  v_ = v;
  squares_ = 0;
  channel_ = &communicator.channel();
  absl::Status status = run_steps(tag);
  if (status.ok() && !meets_all_of_v_) {
    squares_ = compress::squared_norm(v);
  }
  v_ = {};
  for (PartState& state : states_) {
    state = {};
  }
  if (!status.ok()) {
    rollback();
  }
  return status;
}

absl::Status ScheduledMean::run_steps(const OpTag& tag) {
  // Every message of the operation has a number of its own: origin, then part.
  const auto numbers = static_cast<uint64_t>(world_size_) * parts_.size();
  first_ = channel_->start(FrameKind::kPart, tag, std::max<uint64_t>(1, numbers));
  for (const Step& step : list_.steps) {
    LACONIC_RETURN_IF_ERROR(run_step(step));
  }
  return absl::OkStatus();
}

absl::Status ScheduledMean::run_step(const Step& step) {
  std::vector<int> peers;
  for (const Message& message : step.sends) {
    if (std::find(peers.begin(), peers.end(), message.peer) == peers.end()) {
      peers.push_back(message.peer);
    }
  }
  const size_t ahead = kMessagesAhead * std::max<size_t>(1, peers.size());
  size_t sent = 0;
  for (size_t received = 0; received < step.receives.size(); ++received) {
    for (; sent < std::min(step.sends.size(), received + ahead); ++sent) {
      if (absl::Status status = send(step.sends[sent]); !status.ok()) {
        return status;
      }
    }
    LACONIC_RETURN_IF_ERROR(receive(step.receives[received]));
  }
  for (; sent < step.sends.size(); ++sent) {
    LACONIC_RETURN_IF_ERROR(send(step.sends[sent]));
  }
  for (const int part : step.adds) {
    LACONIC_RETURN_IF_ERROR(add(part));
  }
  for (const Finish& finished : step.finishes) {
    LACONIC_RETURN_IF_ERROR(finish(finished));
  }
  return absl::OkStatus();
}

FrameHeader ScheduledMean::header_of(const Message& message) const {
  FrameHeader header = first_;
  header.kind = message.content == Content::kSum ? FrameKind::kPart : FrameKind::kReduced;
  header.op_sequence +=
      static_cast<uint64_t>(message.origin) * parts_.size() + static_cast<uint64_t>(message.part);
  header.tile = static_cast<uint32_t>(message.tile);
  return header;
}

absl::Status ScheduledMean::send(const Message& message) {
  LACONIC_ASSIGN_OR_RETURN(Payload payload, payload_of(message));
  FrameHeader header = header_of(message);
  header.payload_bytes_total = message.form == Form::kFloat32
                                   ? static_cast<uint64_t>(expected(message).bytes_max)
                                   : payload.size;
  return channel_->send(message.peer, header, std::move(payload));
}

absl::StatusOr<Payload> ScheduledMean::payload_of(const Message& message) {
  PartState& state = states_[at(message.part)];
  if (message.content == Content::kResult) {
    if (state.result.owner == nullptr) {
      state.result = to_payload(mean_of(message.part));
    }
    return message.form == Form::kFloat32 ? tile_of(state.result, message.tile) : state.result;
  }
  if (message.origin != rank_) {
    const auto held =
        std::find_if(state.received.begin(), state.received.end(),
                     [&](const Received& received) { return received.origin == message.origin; });
    return held->tiles.front();  // The schedule's promise: it has come.
  }
  if (message.form == Form::kFloat32) {
    return to_payload(tile_of(values_of(message.part), message.tile));
  }
  if (state.own.owner == nullptr) {
    LACONIC_ASSIGN_OR_RETURN(
        const std::shared_ptr<const core::ByteBuffer> encoded,
        stage_1_[at(message.part)]->encode(values_of(message.part), seed(message.part, false)));
    state.own = Payload(encoded);
  }
  return state.own;
}

Expected ScheduledMean::expected(const Message& message) const {
  if (message.form == Form::kFloat32) {
    return {static_cast<int64_t>(elements_of(message.part) * sizeof(float)), true};
  }
  const compress::Codec& codec = *codecs_[at(message.part)];
  return {codec.payload_bytes_max(), codec.fixed_size()};
}

absl::Status ScheduledMean::receive(const Message& message) {
  FrameHeader header = header_of(message);
  const Expected due = expected(message);
  header.payload_bytes_total = static_cast<uint64_t>(due.bytes_max);
  LACONIC_ASSIGN_OR_RETURN(
      Payload payload,
      message.form == Form::kFloat32
          ? channel_->receive_tile(message.peer, header, first_.op_sequence)
          : channel_->receive_message(message.peer, header, first_.op_sequence, due));
  if (message.content == Content::kResult) {
    const absl::Status status = take_result(message, payload);
    return status.ok() ? status : channel_->blame(message.peer, status);
  }
  std::vector<Received>& received = states_[at(message.part)].received;
  if (message.tile == 0) {
    received.push_back({.origin = message.origin, .form = message.form, .tiles = {}});
  }
  const auto term = std::find_if(received.begin(), received.end(), [&](const Received& other) {
    return other.origin == message.origin;
  });
  term->tiles.push_back(std::move(payload));
  return absl::OkStatus();
}

absl::Status ScheduledMean::take_result(const Message& message, const Payload& payload) {
  const bool whole =
      message.form == Form::kEncoded || payload.size == mean_of(message.part).size_bytes();
  if (forwarded_[at(message.part)] && whole) {
    states_[at(message.part)].result = payload;
  }
  if (message.form == Form::kFloat32) {
    copy_floats(payload.bytes(), tile_of(mean_of(message.part), message.tile));
    return absl::OkStatus();
  }
  const absl::Status status =
      codecs_[at(message.part)]->decode(payload.bytes(), mean_of(message.part));
  return status.ok() ? status
                     : absl::Status(status.code(), absl::StrCat("result from rank ", message.peer,
                                                                ": ", status.message()));
}

absl::Status ScheduledMean::add(int part) {
  PartState& state = states_[at(part)];
  std::sort(state.received.begin(), state.received.end(),
            [](const Received& a, const Received& b) { return a.origin < b.origin; });
  // Values that lie in mean_ are one of the terms, so the sum cannot grow there.
  const std::span<float> sum =
      state.summed ? std::span<float>(sum_).first(elements_of(part)) : mean_of(part);
  bool first = true;
  bool own_added = false;
  const auto add_own = [&]() -> absl::Status {
    own_added = true;
    Payload own = state.own;
    const bool encoded = own.owner != nullptr;
    if (!encoded) {  // As float32 it is added like a received one.
      const std::span<const float> values = values_of(part);
      own.data = reinterpret_cast<const uint8_t*>(values.data());
      own.size = values.size_bytes();
      squares_ += meets_all_of_v_ ? compress::squared_norm(values) : 0;
    }
    const Received term = {.origin = rank_,
                           .form = encoded ? Form::kEncoded : Form::kFloat32,
                           .tiles = {std::move(own)}};
    LACONIC_RETURN_IF_ERROR(add_term(part, term, first, sum));
    first = false;
    return absl::OkStatus();
  };
  for (const Received& term : state.received) {
    if (!own_added && rank_ < term.origin) {
      if (absl::Status status = add_own(); !status.ok()) {
        return status;
      }
    }
    if (absl::Status status = add_term(part, term, first, sum); !status.ok()) {
      return channel_->blame(term.origin, std::move(status));
    }
    first = false;
  }
  if (!own_added) {
    LACONIC_RETURN_IF_ERROR(add_own());
  }
  if (state.summed) {
    std::copy(sum.begin(), sum.end(), mean_of(part).begin());
  }
  state.summed = true;
  state.received.clear();
  return absl::OkStatus();
}

absl::Status ScheduledMean::add_term(int part, const Received& term, bool first,
                                     std::span<float> sum) {
  if (term.form == Form::kFloat32) {
    size_t begin = 0;
    for (const Payload& tile : term.tiles) {
      const std::span<float> out = sum.subspan(begin, tile.size / sizeof(float));
      first ? copy_floats(tile.bytes(), out) : add_floats(tile.bytes(), out);
      begin += out.size();
    }
    return absl::OkStatus();
  }
  const std::span<const uint8_t> bytes = term.tiles.front().bytes();
  const compress::Codec& codec = *codecs_[at(part)];
  const absl::Status status = first ? codec.decode(bytes, sum) : codec.decode_add(bytes, 1.0F, sum);
  return status.ok() ? status
                     : absl::Status(status.code(), absl::StrCat("payload from rank ", term.origin,
                                                                ": ", status.message()));
}

absl::Status ScheduledMean::finish(const Finish& finish) {
  PartState& state = states_[at(finish.part)];
  const std::span<float> mean = mean_of(finish.part);
  const std::span<const float> sum = values_of(finish.part);
  const auto ranks = static_cast<float>(world_size_);
  std::transform(sum.begin(), sum.end(), mean.begin(), [ranks](float s) { return s / ranks; });
  state.summed = true;
  if (!finish.encode) {
    return absl::OkStatus();
  }
  LACONIC_ASSIGN_OR_RETURN(
      const std::shared_ptr<const core::ByteBuffer> encoded,
      stage_2_[at(finish.part)]->encode(mean, seed(finish.part, /*stage_2=*/true)));
  state.result = Payload(encoded);
  return codecs_[at(finish.part)]->decode(encoded->bytes(), mean);
}

absl::StatusOr<compress::FeedbackNorms> ScheduledMean::commit() {
  double input = squares_;
  double residual = 0;
  double owed = 0;
  double missed = 0;
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      if (feedback == nullptr) {
        continue;
      }
      LACONIC_ASSIGN_OR_RETURN(const compress::FeedbackNorms norms, feedback->commit());
      input += stage == &stage_1_ && meets_all_of_v_ ? norms.input * norms.input : 0;
      residual += norms.residual * norms.residual;
      owed += norms.owed * norms.owed;
      missed += norms.compression_error_ratio * norms.owed * norms.owed;
    }
  }
  return compress::FeedbackNorms{.input = std::sqrt(input),
                                 .residual = std::sqrt(residual),
                                 .compression_error_ratio = owed > 0 ? missed / owed : 0,
                                 .owed = std::sqrt(owed)};
}

void ScheduledMean::rollback() {
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      if (feedback != nullptr) {
        feedback->rollback();
      }
    }
  }
}

int64_t ScheduledMean::messages_sent() const {
  size_t messages = 0;
  for (const Step& step : list_.steps) {
    messages += step.sends.size();
  }
  return static_cast<int64_t>(messages);
}

int64_t ScheduledMean::messages_received() const {
  size_t messages = 0;
  for (const Step& step : list_.steps) {
    messages += step.receives.size();
  }
  return static_cast<int64_t>(messages);
}

void ScheduledMean::take_owed(std::span<float> sum) {
  for (size_t part = 0; part < parts_.size(); ++part) {
    const auto begin = static_cast<size_t>(parts_[part].begin);
    const std::span<float> stretch = sum.subspan(begin, elements_of(static_cast<int>(part)));
    if (stage_1_[part] != nullptr) {
      stage_1_[part]->take_owed(1.0F, stretch);
    }
    if (stage_2_[part] != nullptr) {
      stage_2_[part]->take_owed(static_cast<float>(world_size_), stretch);
    }
  }
}

double ScheduledMean::owed_stage_1() const {
  return sum_of(stage_1_);
}
double ScheduledMean::owed_stage_2() const {
  return sum_of(stage_2_);
}

uint64_t ScheduledMean::seed(int part, bool stage_2) const {
  const auto stream = static_cast<uint64_t>(part) + (stage_2 ? parts_.size() : 0);
  return core::Random(first_.round, stream)();
}

size_t ScheduledMean::elements_of(int part) const {
  return static_cast<size_t>(parts_[at(part)].elements);
}

std::span<float> ScheduledMean::mean_of(int part) {
  return mean_.subspan(static_cast<size_t>(parts_[at(part)].begin), elements_of(part));
}

std::span<const float> ScheduledMean::values_of(int part) {
  return states_[at(part)].summed
             ? std::span<const float>(mean_of(part))
             : v_.subspan(static_cast<size_t>(parts_[at(part)].begin), elements_of(part));
}

}  // namespace laconic::collective
