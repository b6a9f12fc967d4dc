#include "common/compress/exponential_levels.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "common/core/bfloat16.h"

namespace laconic::compress {
namespace {

constexpr int kBinShift = 19;
constexpr size_t kBins = 4096;
constexpr double kFourthRootOfHalf = 0.84089641525371454303;
constexpr double kSixteenthRootOfHalf = 0.95760328069857364694;

// Entry b: number and sum of the magnitudes in bins below b.
struct Histogram {
  std::vector<int64_t> count_below = std::vector<int64_t>(kBins + 1);
  std::vector<double> sum_below = std::vector<double>(kBins + 1);
};

size_t bin_of(float magnitude) {
  return std::bit_cast<uint32_t>(magnitude) >> kBinShift;
}

Histogram make_histogram(std::span<const float> values) {
  Histogram histogram;
  for (const float value : values) {
    const float magnitude = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0x7FFFFFFFU);
    ++histogram.count_below[bin_of(magnitude) + 1];
    histogram.sum_below[bin_of(magnitude) + 1] += static_cast<double>(magnitude);
  }
  for (size_t b = 1; b <= kBins; ++b) {
    histogram.count_below[b] += histogram.count_below[b - 1];
    histogram.sum_below[b] += histogram.sum_below[b - 1];
  }
  return histogram;
}

struct Progression {
  double largest = 0;  // A
  double ratio = 0;    // q
};

// Calls visit(level, count, sum) for every level from the largest down.
template <typename Visit>
void visit_levels(const Histogram& histogram, const Progression& progression, int count,
                  Visit visit) {
  double level = progression.largest;
  size_t end = kBins;
  for (int k = 0; k < count; ++k) {
    const double cut = level * (1 + progression.ratio) / 2;
    // Everything below the last cut takes the smallest level.
    const size_t begin = k + 1 == count ? 0 : std::min(end, bin_of(static_cast<float>(cut)));
    visit(level, histogram.count_below[end] - histogram.count_below[begin],
          histogram.sum_below[end] - histogram.sum_below[begin]);
    end = begin;
    level *= progression.ratio;
  }
}

// Square of the correlation times |w|^2.
double score(const Histogram& histogram, const Progression& progression, int count) {
  double product = 0;
  double square = 0;
  visit_levels(histogram, progression, count, [&](double level, int64_t members, double sum) {
    product += level * sum;
    square += static_cast<double>(members) * level * level;
  });
  return square > 0 ? product / square * product : 0;
}

class Search {
 public:
  Search(const Histogram& histogram, int count) : histogram_(histogram), count_(count) {}
  void offer(const Progression& candidate) {
    const double value = score(histogram_, candidate, count_);
    if (value > best_score_) {
      best_score_ = value;
      best_ = candidate;
    }
  }
  const Progression& best() const { return best_; }

 private:
  const Histogram& histogram_;
  int count_;
  Progression best_;
  double best_score_ = 0;
};

Progression fit_progression(const Histogram& histogram, double largest, int count) {
  constexpr int kCoarseScales = 40;
  constexpr int kCoarseRatios = 19;
  constexpr int kFineScales = 4;
  constexpr int kFineRatios = 5;
  Search search(histogram, count);
  double scale = largest;
  for (int i = 0; i <= kCoarseScales; ++i) {
    for (int j = 1; j <= kCoarseRatios; ++j) {
      search.offer({.largest = scale, .ratio = 0.05 * j});
    }
    scale *= kFourthRootOfHalf;
  }
  const Progression coarse = search.best();
  scale = coarse.largest / kFourthRootOfHalf;
  for (int i = -kFineScales; i <= kFineScales; ++i) {
    for (int j = -kFineRatios; j <= kFineRatios; ++j) {
      const double ratio = coarse.ratio + 0.01 * j;
      if (ratio > 0.005 && ratio < 0.995) {
        search.offer({.largest = scale, .ratio = ratio});
      }
    }
    scale *= kSixteenthRootOfHalf;
  }
  return search.best();
}

}  // namespace

Levels fit_exponential_levels(std::span<const float> values, int count) {
  const Histogram histogram = make_histogram(values);
  float largest = 0;
  for (const float value : values) {
    largest = std::max(largest, value < 0 ? -value : value);
  }
  Levels levels{.magnitude = {}, .count = count};
  if (largest == 0) {
    return levels;
  }
  const Progression best = fit_progression(histogram, static_cast<double>(largest), count);
  size_t next = 0;
  visit_levels(histogram, best, count, [&](double level, int64_t members, double sum) {
    const double mean = members > 0 ? sum / static_cast<double>(members) : level;
    levels.magnitude[next++] = core::bf16_value(core::bf16_nearest(mean));
  });
  std::sort(levels.magnitude.begin(), levels.magnitude.begin() + count);
  return levels;
}

}  // namespace laconic::compress
