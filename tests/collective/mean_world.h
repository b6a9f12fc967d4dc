// Vectors for the ranks of a world, and the means that scheduled exchanges make of them.
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "common/collective/scheduled_mean.h"
#include "common/core/random.h"
#include "tests/collective/in_process_world.h"

namespace laconic::testing {

inline constexpr uint64_t kGeneration = 5;

inline core::Layout layout_of(int64_t elements) {
  core::Layout layout;
  for (const int64_t columns : {int64_t{50}, int64_t{7}}) {
    if (elements >= 2 * columns) {
      const int64_t rows = elements / 2 / columns;
      layout.tensors.push_back({.name = "w", .rows = rows, .columns = columns});
      elements -= rows * columns;
    }
  }
  layout.tensors.push_back({.name = "b", .rows = 1, .columns = elements});
  return layout;
}

// Normal deviates (Box, Muller 1958).
inline std::vector<float> vector_of(int rank, int round, int64_t elements) {
  constexpr double kTwoPi = 6.283185307179586;
  core::Random random(17, static_cast<uint64_t>(100 * rank + round));
  std::vector<float> values(static_cast<size_t>(elements));
  for (size_t i = 0; i < values.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double angle = kTwoPi * random.uniform();
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < values.size()) {
      values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
  return values;
}

inline std::vector<double> exact_mean(int world_size, int round, int64_t elements) {
  std::vector<double> mean(static_cast<size_t>(elements));
  for (int rank = 0; rank < world_size; ++rank) {
    const std::vector<float> values = vector_of(rank, round, elements);
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += static_cast<double>(values[i]) / world_size;
    }
  }
  return mean;
}

using Means = std::vector<std::unique_ptr<collective::ScheduledMean>>;

inline std::vector<collective::Communicator> communicators(const Transports& transports) {
  std::vector<collective::Communicator> all;
  all.reserve(transports.size());
  for (const auto& transport : transports) {
    all.emplace_back(*transport, kGeneration, kTestDeadline);
  }
  return all;
}

inline std::vector<float> copy_of(std::span<const float> values) {
  return {values.begin(), values.end()};
}

// One committed round on all ranks; the means must be equal bit for bit, and one is returned.
inline std::vector<float> run_round(const Means& means, std::vector<collective::Communicator>& all,
                                    int round) {
  std::vector<std::vector<float>> results(means.size());
  on_all_ranks(static_cast<int>(means.size()), [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    const std::vector<float> v = vector_of(rank, round, means[r]->elements());
    ASSERT_OK(means[r]->run(all[r], v, {.round = static_cast<uint64_t>(round)}));
    ASSERT_OK(means[r]->commit().status());
    results[r] = copy_of(means[r]->mean());
  });
  for (const std::vector<float>& result : results) {
    EXPECT_TRUE(result == results[0]);
  }
  return results[0];
}

}  // namespace laconic::testing
