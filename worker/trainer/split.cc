#include "worker/trainer/split.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

absl::Status check_enough(int64_t samples, int world_size, int64_t share_min) {
  if (samples >= world_size * share_min) {
    return absl::OkStatus();
  }
  return bad_data(absl::StrCat("the training data has ", samples, " samples, ", world_size,
                               " ranks need at least ", share_min,
                               " each; use fewer workers, a smaller batch or more data"));
}

double normal(core::Random& random) {
  // Box-Muller; 1 - u keeps the logarithm finite.
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

// Logarithm of a Gamma(shape, 1) number: for small shapes the number itself underflows.
// Source: Marsaglia, Tsang, "A Simple Method for Generating Gamma Variables", 2000.
double log_gamma_draw(double shape, core::Random& random) {
  const double boost = shape < 1 ? std::log(1 - random.uniform()) / shape : 0;
  const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal(random);
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - random.uniform()) < x * x / 2 + d - d * v + d * std::log(v)) {
      return std::log(d * v) + boost;
    }
  }
}

// Dirichlet(alpha) over the ranks.
std::vector<double> proportions(double alpha, int world_size, core::Random& random) {
  std::vector<double> draws(static_cast<size_t>(world_size));
  for (double& draw : draws) {
    draw = log_gamma_draw(alpha, random);
  }
  const double largest = *std::max_element(draws.begin(), draws.end());
  double sum = 0;
  for (double& draw : draws) {
    draw = std::exp(draw - largest);
    sum += draw;
  }
  for (double& draw : draws) {
    draw /= sum;
  }
  return draws;
}

void deal_out(const std::vector<int64_t>& samples, const std::vector<double>& proportion,
              std::vector<std::vector<int64_t>>& shares) {
  double total = 0;
  size_t begin = 0;
  for (size_t rank = 0; rank < shares.size(); ++rank) {
    total += proportion[rank];
    const bool last = rank + 1 == shares.size();
    const auto cut = static_cast<size_t>(std::llround(total * static_cast<double>(samples.size())));
    const size_t end = last ? samples.size() : std::clamp(cut, begin, samples.size());
    shares[rank].insert(shares[rank].end(), samples.begin() + static_cast<std::ptrdiff_t>(begin),
                        samples.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end;
  }
}

void top_up(std::vector<std::vector<int64_t>>& shares, size_t share_min) {
  for (std::vector<int64_t>& share : shares) {
    while (share.size() < share_min) {
      auto richest =
          std::max_element(shares.begin(), shares.end(),
                           [](const auto& a, const auto& b) { return a.size() < b.size(); });
      share.push_back(richest->back());
      richest->pop_back();
    }
  }
}

}  // namespace

Stretch equal_stretch(int64_t samples, World world) {
  const int64_t base = samples / world.world_size;
  const int64_t longer = samples % world.world_size;
  const int64_t begin = world.rank * base + std::min<int64_t>(world.rank, longer);
  return {.begin = begin, .end = begin + base + (world.rank < longer ? 1 : 0)};
}

absl::StatusOr<std::vector<int64_t>> iid_share(int64_t samples, World world, uint64_t seed) {
  LACONIC_RETURN_IF_ERROR(check_enough(samples, world.world_size, /*share_min=*/1));
  const std::vector<int64_t> order = core::Random(seed, kSplitStream).permutation(samples);
  const Stretch stretch = equal_stretch(samples, world);
  return std::vector<int64_t>(order.begin() + stretch.begin, order.begin() + stretch.end);
}

absl::StatusOr<std::vector<int64_t>> contiguous_share(int64_t samples, World world) {
  LACONIC_RETURN_IF_ERROR(check_enough(samples, world.world_size, /*share_min=*/1));
  const Stretch stretch = equal_stretch(samples, world);
  std::vector<int64_t> share(static_cast<size_t>(stretch.end - stretch.begin));
  std::iota(share.begin(), share.end(), stretch.begin);
  return share;
}

absl::StatusOr<std::vector<std::vector<int64_t>>> dirichlet_shares(
    std::span<const int64_t> labels, const DirichletOptions& options) {
  const auto samples = static_cast<int64_t>(labels.size());
  LACONIC_RETURN_IF_ERROR(check_enough(samples, options.world_size, options.share_min));
  core::Random random(options.seed, kDirichletStream);
  const int64_t classes = 1 + *std::max_element(labels.begin(), labels.end());
  std::vector<std::vector<int64_t>> by_class(static_cast<size_t>(classes));
  for (const int64_t i : random.permutation(samples)) {
    by_class[static_cast<size_t>(labels[static_cast<size_t>(i)])].push_back(i);
  }
  std::vector<std::vector<int64_t>> shares(static_cast<size_t>(options.world_size));
  for (const std::vector<int64_t>& members : by_class) {
    deal_out(members, proportions(options.alpha, options.world_size, random), shares);
  }
  top_up(shares, static_cast<size_t>(options.share_min));
  return shares;
}

SampleOrder::SampleOrder(std::vector<int64_t> share, uint64_t seed, int rank)
    : share_(std::move(share)), random_(seed, kOrderStream + static_cast<uint64_t>(rank)) {}

std::vector<int64_t> SampleOrder::pick(std::span<const int64_t> places) const {
  std::vector<int64_t> samples(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    samples[i] = share_[static_cast<size_t>(places[i])];
  }
  return samples;
}

std::vector<int64_t> SampleOrder::next(int64_t count) {
  std::vector<int64_t> samples;
  samples.reserve(static_cast<size_t>(count));
  while (static_cast<int64_t>(samples.size()) < count) {
    if (position_ == order_.size()) {
      start_pass();
    }
    samples.push_back(share_[static_cast<size_t>(order_[position_++])]);
  }
  return samples;
}

void SampleOrder::skip(int64_t count) {
  while (count > 0) {
    if (position_ == order_.size()) {
      start_pass();
    }
    const int64_t passed = std::min(count, size() - static_cast<int64_t>(position_));
    position_ += static_cast<size_t>(passed);
    count -= passed;
  }
}

void SampleOrder::start_pass() {
  order_ = random_.permutation(size());
  position_ = 0;
}

std::vector<int64_t> evenly_spaced(int64_t total, int64_t count) {
  const int64_t taken = std::min(total, count);
  std::vector<int64_t> indices(static_cast<size_t>(taken));
  for (int64_t i = 0; i < taken; ++i) {
    // In parts, because i * total may not fit.
    indices[static_cast<size_t>(i)] = i * (total / taken) + i * (total % taken) / taken;
  }
  return indices;
}

}  // namespace laconic::trainer
