#include "common/collective/step_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/partition.h"
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

Payload tile_of(const Payload& part, int tile) {
  const auto total = static_cast<int64_t>(part.size);
  return part.slice(static_cast<size_t>(tile) * kFramePayloadBytesMax,
                    static_cast<size_t>(tile_bytes(total, tile)));
}

}  // namespace

StepRunner::StepRunner(StepList list, const StepRunnerOptions& options)
    : list_(std::move(list)),
      options_(options),
      forwarded_(at(list_.parts)),
      states_(at(list_.parts)) {
  for (const Step& step : list_.steps) {
    for (const Message& message : step.sends) {
      forwarded_[at(message.part)] =
          forwarded_[at(message.part)] || message.content == Content::kResult;
    }
  }
}

int64_t StepRunner::messages_sent() const {
  size_t messages = 0;
  for (const Step& step : list_.steps) {
    messages += step.sends.size();
  }
  return static_cast<int64_t>(messages);
}

int64_t StepRunner::messages_received() const {
  size_t messages = 0;
  for (const Step& step : list_.steps) {
    messages += step.receives.size();
  }
  return static_cast<int64_t>(messages);
}

absl::Status StepRunner::run(FrameChannel& channel, const OpTag& tag, PartWork& work) {
  channel_ = &channel;
  work_ = &work;
  // Every message of the operation has a number of its own: origin, then part.
  const uint64_t numbers = options_.peers.size() * states_.size();
  first_ =
      channel_->start(FrameKind::kPart, tag, std::max({uint64_t{1}, numbers, options_.numbers}));
  absl::Status status;
  for (const Step& step : list_.steps) {
    status = run_step(step);
    if (!status.ok()) {
      break;
    }
  }
  for (PartState& state : states_) {
    state = {};
  }
  return status;
}

absl::Status StepRunner::run_step(const Step& step) {
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

FrameHeader StepRunner::header_of(const Message& message) const {
  FrameHeader header = first_;
  header.kind = message.content == Content::kSum ? FrameKind::kPart : FrameKind::kReduced;
  header.op_sequence +=
      static_cast<uint64_t>(message.origin) * states_.size() + static_cast<uint64_t>(message.part);
  header.tile = static_cast<uint32_t>(message.tile);
  return header;
}

absl::Status StepRunner::send(const Message& message) {
  LACONIC_ASSIGN_OR_RETURN(Payload payload, payload_of(message));
  FrameHeader header = header_of(message);
  header.payload_bytes_total = message.form == Form::kFloat32
                                   ? static_cast<uint64_t>(expected(message).bytes_max)
                                   : payload.size;
  return channel_->send(peer(message.peer), header, std::move(payload));
}

absl::StatusOr<Payload> StepRunner::payload_of(const Message& message) {
  PartState& state = states_[at(message.part)];
  if (message.content == Content::kResult) {
    if (state.result.owner == nullptr) {
      LACONIC_ASSIGN_OR_RETURN(state.result, work_->float_result(message.part));
    }
    return message.form == Form::kFloat32 ? tile_of(state.result, message.tile) : state.result;
  }
  if (message.origin != options_.rank) {
    const auto held =
        std::find_if(state.received.begin(), state.received.end(),
                     [&](const Term& received) { return received.origin == message.origin; });
    return held->tiles.front();  // The schedule's promise: it has come.
  }
  if (message.form == Form::kFloat32) {
    return work_->float_tile(message.part, message.tile);
  }
  if (state.own.owner == nullptr) {
    LACONIC_ASSIGN_OR_RETURN(state.own, work_->encode(message.part, seed(message.part, false)));
  }
  return state.own;
}

Expected StepRunner::expected(const Message& message) const {
  if (message.form == Form::kFloat32) {
    return {work_->elements(message.part) * static_cast<int64_t>(sizeof(float)), true};
  }
  return work_->expected(message.part);
}

absl::Status StepRunner::receive(const Message& message) {
  FrameHeader header = header_of(message);
  const Expected due = expected(message);
  header.payload_bytes_total = static_cast<uint64_t>(due.bytes_max);
  const int from = peer(message.peer);
  LACONIC_ASSIGN_OR_RETURN(Payload payload,
                           message.form == Form::kFloat32
                               ? channel_->receive_tile(from, header, first_.op_sequence)
                               : channel_->receive_message(from, header, first_.op_sequence, due));
  if (message.content == Content::kResult) {
    const absl::Status status = take_result(message, payload);
    return status.ok() ? status : channel_->blame(from, status);
  }
  std::vector<Term>& received = states_[at(message.part)].received;
  if (message.tile == 0) {
    received.push_back({.origin = message.origin, .form = message.form, .tiles = {}});
  }
  const auto term = std::find_if(received.begin(), received.end(),
                                 [&](const Term& other) { return other.origin == message.origin; });
  term->tiles.push_back(std::move(payload));
  return absl::OkStatus();
}

absl::Status StepRunner::take_result(const Message& message, const Payload& payload) {
  const bool whole = message.form == Form::kEncoded ||
                     static_cast<int64_t>(payload.size) == expected(message).bytes_max;
  if (forwarded_[at(message.part)] && whole) {
    states_[at(message.part)].result = payload;
  }
  if (message.form == Form::kFloat32) {
    return work_->take_result_tile(message.part, message.tile, payload);
  }
  const absl::Status status = work_->take_result(message.part, payload);
  return status.ok()
             ? status
             : absl::Status(status.code(), absl::StrCat("result from rank ", peer(message.peer),
                                                        ": ", status.message()));
}

absl::Status StepRunner::add(int part) {
  PartState& state = states_[at(part)];
  std::vector<Term> terms = std::exchange(state.received, {});
  const bool encoded = state.own.owner != nullptr;
  terms.push_back({.origin = options_.rank,
                   .form = encoded ? Form::kEncoded : Form::kFloat32,
                   .tiles = encoded ? std::vector<Payload>{state.own} : std::vector<Payload>{}});
  std::stable_sort(terms.begin(), terms.end(),
                   [](const Term& a, const Term& b) { return a.origin < b.origin; });
  Added added = work_->add(part, terms);
  if (added.status.ok() || added.origin < 0) {
    return added.status;
  }
  const int origin = peer(added.origin);
  return channel_->blame(
      origin, absl::Status(added.status.code(), absl::StrCat("payload from rank ", origin, ": ",
                                                             added.status.message())));
}

absl::Status StepRunner::finish(const Finish& finish) {
  LACONIC_RETURN_IF_ERROR(work_->divide(finish.part));
  if (finish.encode) {
    LACONIC_ASSIGN_OR_RETURN(states_[at(finish.part)].result,
                             work_->encode_result(finish.part, seed(finish.part, true)));
  }
  return absl::OkStatus();
}

uint64_t StepRunner::seed(int part, bool stage_2) const {
  const auto stream = static_cast<uint64_t>(part) + (stage_2 ? states_.size() : 0);
  return core::Random(first_.round, stream)();
}

}  // namespace laconic::collective
