#include "common/sync/method_planner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/codec_name.h"
#include "common/core/format.h"

namespace laconic::sync {
namespace {

constexpr int kDenseBitsMin = 4;  // fewer cost accuracy at every step
constexpr int64_t kAnyCount = std::numeric_limits<int64_t>::max();

int bits_of(const core::CodecSpec& codec) {
  return codec.lossy() ? codec.bits : 32;
}

// Rounds that the bytes allow; kAnyCount without a limit.
int64_t rounds_allowed(const MethodRequest& request, const MethodCandidate& candidate) {
  if (request.limits.bytes == 0 || candidate.sent_bytes == 0) {
    return kAnyCount;
  }
  const int64_t left = request.limits.bytes - request.spent_bytes - request.reserve_bytes;
  return std::max<int64_t>(0, left) / candidate.sent_bytes;
}

// Steps that one round needs so that no more than `wait` of the time is its own.
int64_t steps_for_wait(const MethodRequest& request, const MethodCandidate& candidate) {
  const double wait = request.limits.wait;
  const double steps =
      std::ceil(candidate.seconds * (1 - wait) / (wait * request.step_seconds) - 1e-9);
  return steps >= static_cast<double>(request.steps)
             ? request.steps
             : std::max<int64_t>(1, static_cast<int64_t>(steps));
}

bool wait_is_kept(const MethodRequest& request, const MethodCandidate& candidate, int64_t steps) {
  const double computing = static_cast<double>(steps) * request.step_seconds;
  return candidate.seconds <= request.limits.wait * (candidate.seconds + computing) * (1 + 1e-9);
}

// 0: no round at all.
int64_t smallest_inner_steps(const MethodRequest& request, const MethodCandidate& candidate) {
  const int64_t rounds = rounds_allowed(request, candidate);
  if (rounds == 0) {
    return 0;
  }
  const int64_t for_bytes = rounds >= request.steps ? 1 : (request.steps + rounds - 1) / rounds;
  return std::max(steps_for_wait(request, candidate), for_bytes);
}

std::string explain(const MethodRequest& request, const MethodCandidate& chosen,
                    const MethodChoice& choice, const MethodCandidate& dense) {
  const auto percent = [&](const MethodCandidate& candidate, int64_t steps) {
    const double computing = static_cast<double>(steps) * request.step_seconds;
    return 100 * candidate.seconds / (candidate.seconds + computing);
  };
  std::string text = choice.method == core::Method::kDense
                         ? absl::StrCat("dense, every step, in ", core::codec_name(chosen.codec))
                         : absl::StrCat("local, ", choice.inner_steps, " steps between rounds, in ",
                                        core::codec_name(chosen.codec));
  absl::StrAppendFormat(&text,
                        ": an exchange takes %.3g ms and a step %.3g ms, so %.3g %% of the time is "
                        "waiting (allowed: %.3g %%)",
                        1e3 * chosen.seconds, 1e3 * request.step_seconds,
                        percent(chosen, choice.inner_steps), 100 * request.limits.wait);
  if (!wait_is_kept(request, chosen, choice.inner_steps)) {
    absl::StrAppend(&text, ", more than allowed even with one round in the whole run");
  }
  const auto in_all = [&](const MethodCandidate& candidate, int64_t steps) {
    const double rounds =
        std::ceil(static_cast<double>(request.steps) / static_cast<double>(steps));
    const double bytes = rounds * static_cast<double>(candidate.sent_bytes);
    return core::format_bytes(std::llround(std::min(bytes, 1e18)));
  };
  absl::StrAppend(&text, "; a rank sends ", in_all(chosen, choice.inner_steps), " in the run");
  if (request.limits.bytes > 0) {
    absl::StrAppend(&text, " (allowed: ", core::format_bytes(request.limits.bytes), " with ",
                    core::format_bytes(request.spent_bytes + request.reserve_bytes),
                    " for measuring)");
  }
  if (choice.method != core::Method::kDense || chosen.codec.lossy()) {
    absl::StrAppendFormat(&text, "; dense float32 would wait %.3g %% and send %s",
                          percent(dense, 1), in_all(dense, 1));
  }
  return text;
}

}  // namespace

absl::StatusOr<MethodChoice> choose_method(const MethodRequest& request,
                                           std::span<const MethodCandidate> candidates) {
  std::optional<MethodChoice> choice;
  for (size_t i = 0; i < candidates.size() && !choice.has_value(); ++i) {
    if (bits_of(candidates[i].codec) >= kDenseBitsMin &&
        rounds_allowed(request, candidates[i]) >= request.steps &&
        wait_is_kept(request, candidates[i], 1)) {
      choice = {.method = core::Method::kDense, .candidate = i, .explanation = {}};
    }
  }
  for (size_t i = 0; i < candidates.size() && (!choice || choice->method != core::Method::kDense);
       ++i) {
    const int64_t steps = smallest_inner_steps(request, candidates[i]);
    // Where even one round in the whole run is too long a wait, the shortest is best.
    const bool shorter = choice.has_value() && steps == choice->inner_steps &&
                         !wait_is_kept(request, candidates[choice->candidate], steps) &&
                         candidates[i].seconds < candidates[choice->candidate].seconds;
    if (steps > 0 && (!choice.has_value() || steps < choice->inner_steps || shorter)) {
      choice = {
          .method = core::Method::kLocal, .candidate = i, .inner_steps = steps, .explanation = {}};
    }
  }
  if (!choice.has_value()) {
    int64_t least = kAnyCount;
    for (const MethodCandidate& candidate : candidates) {
      least = std::min(least, candidate.sent_bytes);
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "bytes is ", request.limits.bytes, "; allowed: at least ",
        request.spent_bytes + request.reserve_bytes + least, ", of which one round takes ", least,
        " and measuring ", request.spent_bytes + request.reserve_bytes));
  }
  choice->explanation = explain(request, candidates[choice->candidate], *choice, candidates[0]);
  return *std::move(choice);
}

core::ExchangeSpec chosen_exchange(const core::ExchangeSpec& asked, const MethodChoice& choice,
                                   std::span<const MethodCandidate> candidates) {
  // Preset LACONIC: with few rounds what was kept back long ago is stale.
  constexpr double kLocalDecay = 0.5;
  const MethodCandidate& chosen = candidates[choice.candidate];
  core::ExchangeSpec spec = asked;
  spec.automatic.reset();
  spec.candidates.clear();
  spec.method = choice.method;
  spec.codec = chosen.codec;
  spec.schedule = chosen.schedule;
  spec.error_feedback = chosen.codec.lossy();
  if (choice.method == core::Method::kLocal) {
    spec.residual_decay = spec.error_feedback ? kLocalDecay : 1;
    spec.rounds.inner_steps = choice.inner_steps;
  }
  return spec;
}

}  // namespace laconic::sync
