#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/codec_rows.h"
#include "bench/contest.h"
#include "bench/vectors.h"
#include "common/compress/codec.h"
#include "common/core/payload_size.h"

namespace laconic::bench {
namespace {

constexpr int64_t kChunk = 4096;  // of SparseLoCo
constexpr int64_t kFrameBytes = 1 << 20;
constexpr int64_t kFrameHeaderBytes = 64;
// Beyond this, more elements change no digit that is shown.
constexpr int64_t kElementsEnough = 8 << 20;

core::CodecSpec top_k(double density, int bits) {
  return {.kind = core::CodecKind::kTopK, .bits = bits, .density = density};
}

struct Sent {
  int64_t bytes = 0;           // of the payload
  std::vector<float> decoded;  // [d]
};

Sent send(const core::CodecSpec& spec, std::span<const float> values) {
  const auto elements = static_cast<int64_t>(values.size());
  const auto codec = compress::make_codec(spec, {.tensors = {{"w", 1, elements}}});
  require(codec.ok(), codec.status().ToString());
  const auto payload = (*codec)->encode(values);
  require(payload.ok(), payload.status().ToString());
  Sent sent{.bytes = static_cast<int64_t>(payload->size()), .decoded = {}};
  sent.decoded.resize(values.size());
  const absl::Status status = (*codec)->decode(*payload, sent.decoded);
  require(status.ok(), status.ToString());
  return sent;
}

// |kept|^2 / |values|^2, with k of each chunk kept: SparseLoCo's shape, and DeMo's.
// kept: [d], overwritten with the kept values and zeros.
void keep_per_chunk(std::span<const float> values, int64_t k, std::span<float> kept) {
  std::fill(kept.begin(), kept.end(), 0.0F);
  std::vector<size_t> order(static_cast<size_t>(kChunk));
  for (size_t begin = 0; begin < values.size(); begin += order.size()) {
    order.resize(std::min(order.size(), values.size() - begin));
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = begin + i;
    }
    const auto count = std::min(static_cast<size_t>(k), order.size());
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count) - 1,
                     order.end(),
                     [&](size_t a, size_t b) { return std::abs(values[a]) > std::abs(values[b]); });
    for (size_t i = 0; i < count; ++i) {
      kept[order[i]] = values[order[i]];
    }
  }
}

// The two magnitudes that stand best for those of a chunk (Lloyd), in place: 2 bits a value with
// the sign. The levels are kept in float32 and cost the peer nothing.
void to_two_levels(std::span<float> chunk) {
  double sum = 0;
  double count = 0;
  for (const float value : chunk) {
    sum += std::abs(value);
    count += value != 0 ? 1 : 0;
  }
  double border = count == 0 ? 0 : sum / count;
  double low = 0;
  double high = 0;
  for (int step = 0; step < 20; ++step) {
    double sums[2] = {0, 0};
    double counts[2] = {0, 0};
    for (const float value : chunk) {
      const int side = std::abs(value) > border ? 1 : 0;
      sums[side] += value == 0 ? 0 : std::abs(value);
      counts[side] += value == 0 ? 0 : 1;
    }
    low = counts[0] == 0 ? 0 : sums[0] / counts[0];
    high = counts[1] == 0 ? low : sums[1] / counts[1];
    border = (low + high) / 2;
  }
  for (float& value : chunk) {
    const double level = std::abs(value) > border ? high : low;
    value = value == 0 ? 0 : std::copysign(static_cast<float>(level), value);
  }
}

double energy(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) {
    sum += static_cast<double>(value) * value;
  }
  return sum;
}

}  // namespace

void add_position_rows(const CodecBenchOptions& options, Report& report) {
  const std::vector<float> values = normal_numbers(3, options.elements);
  const auto row = [&](const char* name, double density) {
    const Sent sent = send(top_k(density, 32), values);
    const int64_t k = core::kept_elements(density, options.elements);
    const auto found = std::count_if(sent.decoded.begin(), sent.decoded.end(),
                                     [](float value) { return value != 0; });
    require(found == k, absl::StrCat("top-k kept ", found, " of ", k));
    const int64_t frames = std::max<int64_t>(1, (sent.bytes + kFrameBytes - 1) / kFrameBytes);
    const int64_t position_bytes = sent.bytes + frames * kFrameHeaderBytes - 4 * k;
    const double bound =
        -std::log2(density) - (1 - density) / density * std::log2(1 - density);  // H(p)/p
    report.add(Row{.name = name,
                   .value = 8 * static_cast<double>(position_bytes) / static_cast<double>(k),
                   .unit = "bits",
                   .peer = "entropy_bound",
                   .peer_value = bound});
  };
  row("position_bits_1_56pct", 1.0 / 64);
  row("position_bits_1pct", 0.01);
  row("position_bits_0_1pct", 0.001);
}

void add_sparseloco_rows(const CodecBenchOptions& options, Report& report) {
  constexpr double kPublished = 146;  // 12 bits of position and 2 of value, arXiv 2508.15706
  const std::vector<float> values =
      normal_numbers(4, std::min(options.elements, kElementsEnough) / kChunk * kChunk);
  const Sent ours = send(top_k(64.0 / kChunk, 2), values);
  std::vector<float> theirs(values.size());
  keep_per_chunk(values, 64, theirs);
  for (size_t begin = 0; begin < theirs.size(); begin += kChunk) {
    to_two_levels(std::span(theirs).subspan(begin, kChunk));
  }
  report.add(Row{
      .name = "compression_sparseloco_64_of_4096_2bit",
      .value = static_cast<double>(values.size() * sizeof(float)) / static_cast<double>(ours.bytes),
      .unit = "x",
      .peer = "published_sparseloco",
      .peer_value = kPublished});
  report.add(Row{.name = "error_sparseloco_64_of_4096_2bit",
                 .value = relative_error(values, ours.decoded),
                 .unit = "nmse",
                 .peer = "chunked_top_k_2bit",
                 .peer_value = relative_error(values, theirs)});
}

void add_energy_rows(const CodecBenchOptions& options, Report& report) {
  constexpr size_t kLayer = 8192;
  const std::vector<float> normal =
      normal_numbers(5, std::min(options.elements, kElementsEnough) / kChunk * kChunk);
  const std::vector<float> scales =
      normal_numbers(6, 1 + static_cast<int64_t>(normal.size() / kLayer));
  std::vector<float> values = normal;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::exp(scales[i / kLayer]);  // log-normal, sigma 1
  }
  const Sent ours = send(top_k(0.01, 32), values);
  std::vector<float> chunked(values.size());
  keep_per_chunk(values, 41, chunked);
  report.add(Row{.name = "energy_1pct_lognormal_layers",
                 .value = energy(ours.decoded) / energy(values),
                 .unit = "share",
                 .peer = "chunked_top_k_41_of_4096",
                 .peer_value = energy(chunked) / energy(values)});
}

}  // namespace laconic::bench
