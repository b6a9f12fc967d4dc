#include "worker/trainer/method_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "common/collective/link_probe.h"
#include "common/core/codec_name.h"
#include "common/core/schedule_choice.h"
#include "common/core/status_macros.h"
#include "common/sync/exchange_planner.h"
#include "common/sync/method_planner.h"
#include "common/sync/similarity.h"

namespace laconic::trainer {
namespace {

constexpr int kRuns = 3;
constexpr int64_t kWords = 32;  // digests at the start, words of life during evaluations

// Each codec by its fastest way, or where bytes are limited by the one that sends least.
std::vector<sync::MethodCandidate> best_ways(const sync::PlannedExchange& planned,
                                             const core::ExchangeSpec& asked,
                                             const core::Layout& layout, int world_size) {
  std::vector<sync::MethodCandidate> candidates;
  for (size_t i = 0; i < planned.candidates.size(); ++i) {
    sync::MethodCandidate best = {.codec = asked.candidates[i],
                                  .seconds = std::numeric_limits<double>::infinity()};
    for (const collective::PlannedWay& way : planned.plan.ways) {
      if (way.candidate != i) {
        continue;
      }
      const int64_t sent = core::sent_bytes_expected(way.prediction.schedule, best.codec, layout,
                                                     world_size, std::max(1, asked.ranks_per_site));
      const bool first = std::isinf(best.seconds);
      if (first || (asked.automatic->bytes > 0 && sent < best.sent_bytes)) {
        best.schedule = way.prediction.schedule;
        best.seconds = way.prediction.seconds();
        best.sent_bytes = sent;
      }
    }
    candidates.push_back(best);
  }
  return candidates;
}

// The mean of a few, after one that warms up. The others compute at the same time.
absl::StatusOr<double> time_gradient(const GradientParts& parts, const Dataset& data,
                                     int64_t batch_size, collective::Communicator& communicator) {
  const Batch batch = data.share_batch(0, std::min(batch_size, data.samples()));
  parts.model.set_training(false);
  LACONIC_RETURN_IF_ERROR(compute_gradient(parts, batch).status());
  LACONIC_RETURN_IF_ERROR(collective::largest_of_ranks(communicator, 0, {}).status());
  const auto start = std::chrono::steady_clock::now();
  for (int run = 0; run < kRuns; ++run) {
    LACONIC_RETURN_IF_ERROR(compute_gradient(parts, batch).status());
  }
  const std::chrono::duration<double> life = std::chrono::steady_clock::now() - start;
  parts.model.set_training(true);
  return std::max(life.count() / kRuns, 1e-6);
}

ExchangeChoice alone(core::ExchangeSpec spec) {
  spec.automatic.reset();
  spec.candidates.clear();
  ExchangeChoice choice{.spec = std::move(spec), .message = {}};
  choice.message.set_codec(core::codec_name(choice.spec.codec));
  choice.message.set_schedule(core::schedule_name(core::Schedule::kAllGather));
  choice.message.set_method("dense: one rank alone exchanges nothing");
  return choice;
}

}  // namespace

int64_t bytes_beside_rounds(int world_size, int64_t measurements) {
  const int64_t sketches = core::framed_bytes(2 * sync::kSketchSize * sizeof(float));
  return (world_size - 1) * (measurements * sketches + kWords * core::framed_bytes(8));
}

absl::StatusOr<ExchangeChoice> choose_method(const core::ExchangeSpec& asked,
                                             const GradientParts& gradient, const Dataset& data,
                                             int64_t batch_size, int64_t reserve_bytes,
                                             collective::Communicator& communicator,
                                             WorkerLink& link) {
  const int world_size = communicator.world_size();
  if (world_size == 1) {
    return alone(asked);
  }
  const core::Layout& layout = gradient.flat.layout();
  LACONIC_ASSIGN_OR_RETURN(const double step_seconds,
                           time_gradient(gradient, data, batch_size, communicator));
  LACONIC_ASSIGN_OR_RETURN(const sync::PlannedExchange planned,
                           sync::plan_exchange(asked, layout, communicator));
  LACONIC_ASSIGN_OR_RETURN(const double slowest,
                           collective::largest_of_ranks(communicator, step_seconds, {}));
  LACONIC_ASSIGN_OR_RETURN(const double spent,
                           collective::largest_of_ranks(
                               communicator, static_cast<double>(communicator.bytes().sent), {}));
  const std::vector<sync::MethodCandidate> candidates =
      best_ways(planned, asked, layout, world_size);
  LACONIC_ASSIGN_OR_RETURN(const sync::MethodChoice chosen,
                           sync::choose_method({.limits = *asked.automatic,
                                                .steps = asked.rounds.steps,
                                                .step_seconds = slowest,
                                                .spent_bytes = std::llround(spent),
                                                .reserve_bytes = reserve_bytes},
                                               candidates));
  ExchangeChoice choice{.spec = sync::chosen_exchange(asked, chosen, candidates), .message = {}};
  choice.message.set_codec(core::codec_name(choice.spec.codec));
  choice.message.set_schedule(core::schedule_name(choice.spec.schedule));
  choice.message.set_method(chosen.explanation);
  if (communicator.rank() == 0) {
    spdlog::info("{}", chosen.explanation);
    link.report_event("METHOD_CHOSEN", chosen.explanation);
  }
  return choice;
}

}  // namespace laconic::trainer
