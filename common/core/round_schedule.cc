#include "common/core/round_schedule.h"

#include <algorithm>
#include <cmath>

namespace laconic::core {
namespace {

// The step that round k = 1..R ends at.
int64_t end_of_round(const RoundSchedule& schedule, int64_t k) {
  if (k >= schedule.rounds) {
    return schedule.steps;
  }
  const double part = static_cast<double>(k) / static_cast<double>(schedule.rounds);
  const double step = static_cast<double>(schedule.steps) * std::pow(part, schedule.growth);
  return std::clamp<int64_t>(std::llround(step), 1, schedule.steps);
}

// Calls visit(first step, last step) for each round, in order.
template <typename Visit>
void for_each_round(const RoundSchedule& schedule, const Visit& visit) {
  int64_t ended = 0;
  for (int64_t k = 1; k <= schedule.rounds; ++k) {
    const int64_t end = end_of_round(schedule, k);
    if (end > ended) {
      visit(ended + 1, end);
      ended = end;
    }
  }
}

}  // namespace

bool ends_round(const RoundSchedule& schedule, int64_t step) {
  if (step < 1) {
    return false;
  }
  if (step == schedule.steps) {
    return true;
  }
  if (schedule.rounds == 0) {
    return step % schedule.inner_steps == 0;
  }
  // The round that ends here has about this number; its neighbours too, because steps are rounded,
  // and where rounds are shorter than a step one of those that end here.
  const double part = static_cast<double>(step) / static_cast<double>(schedule.steps);
  const auto near = static_cast<int64_t>(static_cast<double>(schedule.rounds) *
                                         std::pow(part, 1 / schedule.growth));
  for (int64_t k = std::max<int64_t>(1, near - 1); k <= near + 2; ++k) {
    if (end_of_round(schedule, k) == step) {
      return true;
    }
  }
  return step == 1 && end_of_round(schedule, 1) == 1;
}

int64_t round_count(const RoundSchedule& schedule) {
  if (schedule.rounds == 0) {
    return std::max<int64_t>(1, (schedule.steps + schedule.inner_steps - 1) / schedule.inner_steps);
  }
  int64_t count = 0;
  for_each_round(schedule, [&](int64_t, int64_t) { ++count; });
  return count;
}

int64_t steps_of_rounds(const RoundSchedule& schedule, int64_t rounds) {
  if (schedule.rounds == 0) {
    // Divided first: no product of a long run's numbers overflows.
    return rounds >= (schedule.steps + schedule.inner_steps - 1) / schedule.inner_steps
               ? schedule.steps
               : rounds * schedule.inner_steps;
  }
  int64_t count = 0;
  int64_t steps = rounds < 1 ? 0 : schedule.steps;
  for_each_round(schedule, [&](int64_t, int64_t last) {
    ++count;
    steps = count == rounds ? last : steps;
  });
  return steps;
}

int64_t longest_round(const RoundSchedule& schedule) {
  if (schedule.rounds == 0) {
    return std::clamp<int64_t>(schedule.inner_steps, 1, std::max<int64_t>(1, schedule.steps));
  }
  int64_t longest = 1;
  for_each_round(schedule, [&](int64_t first, int64_t last) {
    longest = std::max(longest, last - first + 1);
  });
  return longest;
}

}  // namespace laconic::core
