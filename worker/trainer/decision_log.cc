#include "worker/trainer/decision_log.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace laconic::trainer {
namespace {

using sync::RoundReason;

v1::RoundReason to_proto(RoundReason reason) {
  switch (reason) {
    case RoundReason::kEveryRound:
      return v1::EVERY_ROUND;
    case RoundReason::kFirstRounds:
      return v1::FIRST_ROUNDS;
    case RoundReason::kChanged:
      return v1::CHANGED;
    case RoundReason::kAged:
      return v1::AGED;
    case RoundReason::kDenseWarmUp:
      return v1::DENSE_WARM_UP;
    case RoundReason::kSmallChange:
      return v1::SMALL_CHANGE;
    case RoundReason::kSimilarity:
      return v1::SIMILARITY;
    case RoundReason::kOverlap:
      return v1::OVERLAP;
  }
  return v1::ROUND_REASON_UNSPECIFIED;
}

const char* words(size_t reason) {
  switch (static_cast<RoundReason>(reason)) {
    case RoundReason::kEveryRound:
      return "as always";
    case RoundReason::kFirstRounds:
      return "first rounds";
    case RoundReason::kChanged:
      return "change matters";
    case RoundReason::kAged:
      return "last message too old";
    case RoundReason::kDenseWarmUp:
      return "float32 warm-up";
    case RoundReason::kSmallChange:
      return "change too small";
    case RoundReason::kSimilarity:
      return "by similarity";
    case RoundReason::kOverlap:
      return "shared elements, the ranks' own overlap";
  }
  return "";
}

bool alike(const v1::RoundDecision& a, const v1::RoundDecision& b) {
  return a.inner_steps() == b.inner_steps() && a.reason() == b.reason() &&
         a.senders() == b.senders();
}

}  // namespace

void DecisionLog::start(int64_t step, int64_t rounds, int64_t payload_bytes) {
  last_rounds_ = rounds;
  last_round_step_ = step;
  last_payload_bytes_ = payload_bytes;
  told_rounds_ = rounds;
}

void DecisionLog::step_done(int64_t step, int64_t rounds, int64_t payload_bytes,
                            const sync::RoundDecision& decision) {
  const int64_t made = rounds - last_rounds_;
  if (made <= 0) {
    return;
  }
  v1::RoundDecision entry;
  entry.set_first_round(last_rounds_ + 1);
  entry.set_rounds(made);
  entry.set_step(step);
  entry.set_inner_steps(step - last_round_step_);
  entry.set_reason(to_proto(decision.reason));
  entry.set_senders(decision.senders);
  entry.set_overlap(decision.overlap);
  entry.set_payload_bytes(payload_bytes - last_payload_bytes_);
  counts_[static_cast<size_t>(decision.reason)] += made;
  since_[static_cast<size_t>(decision.reason)] += made;
  bytes_since_ += entry.payload_bytes();
  shortest_ = shortest_ == 0 ? entry.inner_steps() : std::min(shortest_, entry.inner_steps());
  longest_ = std::max(longest_, entry.inner_steps());
  last_rounds_ = rounds;
  last_round_step_ = step;
  last_payload_bytes_ = payload_bytes;
  if (!rounds_.empty() && alike(rounds_.back(), entry) &&
      rounds_.back().first_round() + rounds_.back().rounds() == entry.first_round()) {
    v1::RoundDecision& last = rounds_.back();
    last.set_rounds(last.rounds() + made);
    last.set_step(step);
    last.set_overlap(entry.overlap());
    last.set_payload_bytes(last.payload_bytes() + entry.payload_bytes());
  } else if (rounds_.size() < kRoundsListedMax) {
    rounds_.push_back(std::move(entry));
  }
}

std::vector<v1::RoundCount> DecisionLog::counts() const {
  std::vector<v1::RoundCount> result;
  for (size_t reason = 0; reason < kReasons; ++reason) {
    if (counts_[reason] > 0) {
      v1::RoundCount count;
      count.set_reason(to_proto(static_cast<RoundReason>(reason)));
      count.set_rounds(counts_[reason]);
      result.push_back(std::move(count));
    }
  }
  return result;
}

std::optional<std::string> DecisionLog::news() {
  if (last_rounds_ == told_rounds_) {
    return std::nullopt;
  }
  std::vector<std::string> sent;
  for (size_t reason = 0; reason < kReasons; ++reason) {
    if (since_[reason] > 0 && static_cast<RoundReason>(reason) != RoundReason::kSmallChange) {
      sent.push_back(absl::StrCat(since_[reason], " (", words(reason), ")"));
    }
  }
  const int64_t silent = since_[static_cast<size_t>(RoundReason::kSmallChange)];
  const int64_t rounds = last_rounds_ - told_rounds_;
  const std::string steps =
      shortest_ == longest_ ? absl::StrCat(longest_) : absl::StrCat(shortest_, " to ", longest_);
  const bool plain = since_[static_cast<size_t>(RoundReason::kEveryRound)] == rounds;
  const std::string told = absl::StrCat(steps, plain ? " as always" : "");
  std::string text = absl::StrCat("rounds ", told_rounds_ + 1, " to ", last_rounds_, " of ", steps,
                                  longest_ == 1 ? " step each: sent " : " steps each: sent ",
                                  sent.empty() ? "none" : absl::StrJoin(sent, ", "));
  if (silent > 0) {
    absl::StrAppend(&text, ", silent ", silent, " (",
                    words(static_cast<size_t>(RoundReason::kSmallChange)), ")");
  }
  absl::StrAppendFormat(&text, "; %.3g bits per parameter and round sent to all peers together",
                        8.0 * static_cast<double>(bytes_since_) /
                            (static_cast<double>(parameters_) * static_cast<double>(rounds)));
  if (!rounds_.empty() && rounds_.back().overlap() > 0) {
    absl::StrAppendFormat(&text, "; %.0f %% of a rank's own elements were also the others'",
                          100 * rounds_.back().overlap());
  }
  const bool known = plain && told == told_;
  told_ = told;
  told_rounds_ = last_rounds_;
  since_ = {};
  bytes_since_ = 0;
  shortest_ = 0;
  longest_ = 0;
  return known ? std::nullopt : std::optional<std::string>(std::move(text));
}

}  // namespace laconic::trainer
