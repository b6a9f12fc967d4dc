#include "worker/trainer/saved_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/core/state_bytes.h"
#include "common/core/status_macros.h"
#include "common/sync/method_planner.h"

namespace laconic::trainer {
namespace {

// Beyond the last candidate: float32 of one rank alone.
size_t place_of(const core::CodecSpec& codec, const std::vector<core::CodecSpec>& candidates) {
  return static_cast<size_t>(std::ranges::find(candidates, codec) - candidates.begin());
}

}  // namespace

std::vector<uint8_t> save_choice(const core::ExchangeSpec& asked, const ExchangeChoice& choice) {
  if (asked.candidates.empty()) {
    return {};
  }
  core::StateWriter writer;
  writer.integer(static_cast<int64_t>(place_of(choice.spec.codec, asked.candidates)));
  writer.integer(static_cast<int64_t>(choice.spec.schedule));
  writer.integer(static_cast<int64_t>(choice.spec.method));
  writer.integer(choice.spec.rounds.inner_steps);
  const std::string message = choice.message.SerializeAsString();
  writer.bytes({reinterpret_cast<const uint8_t*>(message.data()), message.size()});
  return std::move(writer).take();
}

absl::StatusOr<ExchangeChoice> restore_choice(const core::ExchangeSpec& asked,
                                              std::span<const uint8_t> bytes) {
  constexpr int64_t kStepsMax = 1'000'000'000;
  LACONIC_ASSIGN_OR_RETURN(core::StateReader reader, core::StateReader::open(bytes));
  LACONIC_ASSIGN_OR_RETURN(
      const int64_t place,
      reader.integer("codec", 0, static_cast<int64_t>(asked.candidates.size())));
  LACONIC_ASSIGN_OR_RETURN(
      const int64_t schedule,
      reader.integer("schedule", 0, static_cast<int64_t>(core::Schedule::kHierarchical)));
  const auto dense = static_cast<int64_t>(core::Method::kDense);
  const auto local = static_cast<int64_t>(core::Method::kLocal);
  LACONIC_ASSIGN_OR_RETURN(
      const int64_t method,
      asked.automatic.has_value()
          ? reader.integer("method", std::min(dense, local), std::max(dense, local))
          : reader.integer("method", static_cast<int64_t>(asked.method),
                           static_cast<int64_t>(asked.method)));
  LACONIC_ASSIGN_OR_RETURN(const int64_t steps, reader.integer("inner steps", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> text, reader.bytes());
  LACONIC_RETURN_IF_ERROR(reader.done());
  const sync::MethodCandidate chosen = {
      .codec = static_cast<size_t>(place) < asked.candidates.size()
                   ? asked.candidates[static_cast<size_t>(place)]
                   : core::CodecSpec{},
      .schedule = static_cast<core::Schedule>(schedule)};
  ExchangeChoice choice{.spec = asked, .message = {}};
  if (asked.automatic.has_value()) {
    choice.spec = sync::chosen_exchange(
        asked,
        {.method = static_cast<core::Method>(method), .inner_steps = steps, .explanation = {}},
        {&chosen, 1});
  } else {
    choice.spec.codec = chosen.codec;
    choice.spec.schedule = chosen.schedule;
  }
  if (!choice.message.ParseFromArray(text.data(), static_cast<int>(text.size()))) {
    return absl::DataLossError("state: the report of what auto chose cannot be read");
  }
  return choice;
}

}  // namespace laconic::trainer
