// What was decided in each round and why, in few numbers: counts by reason, a list of rounds in
// which equal neighbours are one entry, and sentences for events. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/sync/sync_method.h"
#include "laconic/v1/trainer.pb.h"

namespace laconic::trainer {

// Entries of the list; later rounds are counted, but not listed.
inline constexpr size_t kRoundsListedMax = 4096;

// Owned by one thread.
class DecisionLog {
 public:
  // parameters: d, for bits per parameter; >= 1.
  explicit DecisionLog(int64_t parameters) : parameters_(parameters) {}

  // Where the list begins: what was exchanged up to `step` is in none of its entries.
  void start(int64_t step, int64_t rounds, int64_t payload_bytes);

  // Takes note of the step that ended. rounds: exchanges so far; payload_bytes: sent so far to all
  // peers without headers; neither may fall. Several rounds in one step count alike.
  void step_done(int64_t step, int64_t rounds, int64_t payload_bytes,
                 const sync::RoundDecision& decision);

  // Rounds by reason, those that occurred.
  std::vector<v1::RoundCount> counts() const;
  // Every round, at most kRoundsListedMax entries.
  const std::vector<v1::RoundDecision>& rounds() const { return rounds_; }

  // One sentence about the rounds since the last call; nothing when there were none, or when they
  // were like those before: every round sent, by the same H.
  std::optional<std::string> news();

 private:
  static constexpr size_t kReasons =
      static_cast<size_t>(sync::kLastRoundReason) + 1;  // of sync::RoundReason
  using Counts = std::array<int64_t, kReasons>;

  const int64_t parameters_;
  std::vector<v1::RoundDecision> rounds_;
  Counts counts_ = {};
  int64_t last_rounds_ = 0;
  int64_t last_round_step_ = 0;
  int64_t last_payload_bytes_ = 0;
  // Since the last news().
  Counts since_ = {};
  int64_t bytes_since_ = 0;
  int64_t shortest_ = 0;  // H; 0: no round yet
  int64_t longest_ = 0;
  int64_t told_rounds_ = 0;
  std::string told_;  // what was said of H and reasons
};

}  // namespace laconic::trainer
