// After which steps of a run the ranks exchange.
#pragma once

#include <cstdint>

namespace laconic::core {

// S steps, all ranks alike. The last step always ends a round.
struct RoundSchedule {
  int64_t steps = 0;        // S >= 1; 0: not known, then only multiples of inner_steps end a round
  int64_t inner_steps = 1;  // H >= 1: steps H, 2 H, .. end a round; unless rounds is set
  int64_t rounds = 0;       // R, 0..S; above 0: round k = 1..R ends at step round(S (k / R)^growth)
  double growth = 1;        // 1: evenly; above 1: short rounds first, long ones at the end
};

// step: 1..S, 0 is never an end. Rounds that end at the same step are one. Cost: O(1).
bool ends_round(const RoundSchedule& schedule, int64_t step);

// Ends of rounds in steps 1..S, at least 1. Cost: O(R).
int64_t round_count(const RoundSchedule& schedule);

// The step after which `rounds` rounds have ended, S if there are fewer; 0 for none. Cost: O(R).
int64_t steps_of_rounds(const RoundSchedule& schedule, int64_t rounds);

// Steps of the longest round. Cost: O(R).
int64_t longest_round(const RoundSchedule& schedule);

}  // namespace laconic::core
