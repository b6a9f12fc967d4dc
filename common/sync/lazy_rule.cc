#include "common/sync/lazy_rule.h"

#include <algorithm>
#include <cmath>

namespace laconic::sync {
namespace {

// Rounds before a rank's first message, where what it owes grows by |v|^2 a round.
int64_t turn_of(const core::LazySpec& spec, int rank) {
  const double period = std::min(std::ceil(std::max(1.0, spec.threshold)), 1.0 + spec.age_max);
  return rank % static_cast<int64_t>(period);
}

}  // namespace

RoundReason decide(const core::LazySpec& spec, const LazyEvidence& evidence) {
  const bool laq = spec.rule == core::LazyRule::kLaq;
  // Receivers hold nothing before the first message, and LAQ knows no means yet.
  const auto first_rounds = static_cast<int64_t>(laq ? kLaqRounds : 1);
  const bool first =
      spec.silence == core::Silence::kCarry
          ? evidence.age == evidence.rounds && evidence.rounds >= turn_of(spec, evidence.rank)
          : evidence.rounds < first_rounds;
  if (first) {
    return RoundReason::kFirstRounds;
  }
  const bool matters = laq ? evidence.message >= spec.threshold * evidence.mean_square_sum /
                                                         static_cast<double>(kLaqRounds) +
                                                     3 * (evidence.error + evidence.error_of_last)
                           : evidence.change > spec.threshold * evidence.step;
  if (matters) {
    return RoundReason::kChanged;
  }
  return evidence.age >= spec.age_max ? RoundReason::kAged : RoundReason::kSmallChange;
}

}  // namespace laconic::sync
