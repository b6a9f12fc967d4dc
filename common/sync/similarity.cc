#include "common/sync/similarity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/compress/buffer_pool.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

using Halves = std::array<std::vector<double>, 2>;  // [2, k]

double product(const Halves& halves) {
  double sum = 0;
  for (size_t i = 0; i < halves[0].size(); ++i) {
    sum += halves[0][i] * halves[1][i];
  }
  return sum;
}

double root(double square) {
  return std::sqrt(std::max(0.0, square));
}

}  // namespace

void make_sketch(std::span<const float> v, uint64_t seed, std::span<float> sketch) {
  std::vector<double> sums(sketch.size());
  const core::Random random(seed);
  for (size_t i = 0; i < v.size(); ++i) {
    const uint64_t drawn = random.at(i);
    const size_t place = (drawn >> 1) % sums.size();
    sums[place] += (drawn & 1) == 0 ? v[i] : -v[i];
  }
  std::ranges::transform(sums, sketch.begin(), [](double sum) { return static_cast<float>(sum); });
}

double secant_length(std::span<const float> from, std::span<const float> to) {
  double sum = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const double step = static_cast<double>(to[i]) - from[i];
    sum += step * step;
  }
  return std::sqrt(sum);
}

Similarity estimate_similarity(std::span<const float> sketches, double distance) {
  const size_t ranks = sketches.size() / (2 * kSketchSize);
  const auto sketch = [&](size_t rank, size_t half) {
    return sketches.subspan((2 * rank + half) * kSketchSize, kSketchSize);
  };
  Halves mean;
  for (size_t half = 0; half < 2; ++half) {
    mean[half].resize(kSketchSize);
    for (size_t rank = 0; rank < ranks; ++rank) {
      for (size_t i = 0; i < kSketchSize; ++i) {
        mean[half][i] += sketch(rank, half)[i] / static_cast<double>(ranks);
      }
    }
  }
  Similarity similarity;
  double sum = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    Halves gap = mean;
    for (size_t half = 0; half < 2; ++half) {
      for (size_t i = 0; i < kSketchSize; ++i) {
        gap[half][i] = sketch(rank, half)[i] - mean[half][i];
      }
    }
    const double square = product(gap);
    sum += square;
    similarity.deltas.push_back(root(square) / distance);
  }
  similarity.delta_square = sum / static_cast<double>(ranks) / (distance * distance);
  similarity.smoothness_square = product(mean) / (distance * distance);
  similarity.delta_rms = root(similarity.delta_square);
  similarity.smoothness = root(similarity.smoothness_square);
  return similarity;
}

absl::StatusOr<Similarity> gather_similarity(std::span<const float> halves, double distance,
                                             collective::Communicator& communicator,
                                             const collective::OpTag& tag) {
  const auto buffer = std::make_shared<core::ByteBuffer>(halves.size_bytes());
  std::memcpy(buffer->bytes().data(), halves.data(), halves.size_bytes());
  LACONIC_ASSIGN_OR_RETURN(const std::vector<collective::Payload> gathered,
                           communicator.all_gather(collective::Payload(buffer),
                                                   static_cast<int64_t>(halves.size_bytes()), tag));
  std::vector<float> sketches(gathered.size() * halves.size());
  for (size_t rank = 0; rank < gathered.size(); ++rank) {
    if (gathered[rank].size != halves.size_bytes()) {
      return absl::DataLossError(absl::StrCat("rank ", rank, " sent a sketch of ",
                                              gathered[rank].size, " bytes, due are ",
                                              halves.size_bytes()));
    }
    std::memcpy(&sketches[rank * halves.size()], gathered[rank].data, halves.size_bytes());
  }
  if (!std::ranges::all_of(sketches, [](float value) { return std::isfinite(value); })) {
    return absl::DataLossError("a sketch has a number that is not finite");
  }
  return estimate_similarity(sketches, distance);
}

void SimilarityMean::add(const Similarity& similarity) {
  const float weight = count > 0 ? 0.5F : 1.0F;
  delta_square += weight * (static_cast<float>(similarity.delta_square) - delta_square);
  smoothness_square +=
      weight * (static_cast<float>(similarity.smoothness_square) - smoothness_square);
  count = 1;
}

double SimilarityMean::ratio() const {
  if (!(delta_square > 0)) {
    return 0;
  }
  return smoothness_square > 0 ? std::sqrt(static_cast<double>(delta_square) / smoothness_square)
                               : std::numeric_limits<double>::infinity();
}

int64_t steps_for_similarity(double ratio, int64_t low, int64_t high) {
  const double steps = 8 * (1 / ratio + 2);  // infinite for 0
  return steps >= static_cast<double>(high)
             ? high
             : std::clamp<int64_t>(std::llround(steps), low, std::max(low, high));
}

}  // namespace laconic::sync
