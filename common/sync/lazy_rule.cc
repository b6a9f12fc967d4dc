#include "common/sync/lazy_rule.h"

namespace laconic::sync {

RoundReason decide(const core::LazySpec& spec, const LazyEvidence& evidence) {
  const bool laq = spec.rule == core::LazyRule::kLaq;
  // Receivers hold nothing before the first message, and LAQ knows no means yet.
  const auto first_rounds = static_cast<int64_t>(laq ? kLaqRounds : 1);
  if (evidence.rounds < first_rounds) {
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
