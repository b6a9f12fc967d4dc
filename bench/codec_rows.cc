#include "bench/codec_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/contest.h"
#include "bench/torch_peers.h"
#include "bench/vectors.h"
#include "common/compress/codec.h"
#include "common/core/crc32c.h"
#include "common/core/payload_size.h"

namespace laconic::bench {
namespace {

using compress::Codec;
using compress::EncodeState;

constexpr int64_t kColumns = 4096;
constexpr double kDensity = 0.01;
// Of local methods, by default.
constexpr float kDecay = 0.9F;
// Rounds until the residual has as much as it will ever have (0.9^40 < 2 %), so that a threshold
// can be reused: while it grows, too many elements are above the last round's.
constexpr int kSettleRounds = 40;

constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = kDensity};
constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 256};
constexpr core::CodecSpec kInt4 = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 64};
constexpr core::CodecSpec kSign = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};

std::unique_ptr<Codec> make(const core::CodecSpec& spec, int64_t elements) {
  core::Layout layout;
  if (const int64_t rows = elements / kColumns; rows > 0) {
    layout.tensors.push_back({"weight", rows, kColumns});
  }
  if (const int64_t rest = elements % kColumns; rest > 0) {
    layout.tensors.push_back({"bias", 1, rest});
  }
  auto codec = compress::make_codec(spec, layout);
  require(codec.ok(), codec.status().ToString());
  return *std::move(codec);
}

void add_to(std::span<float> e, std::span<const float> g) {
  for (size_t i = 0; i < e.size(); ++i) {
    e[i] += g[i];
  }
}

double bytes_of(std::span<const float> values) {
  return static_cast<double>(values.size_bytes());
}

// Error feedback around one codec, with new numbers in every round.
class FeedbackLoop {
 public:
  // numbers: longer than d; each round begins at another place in it.
  FeedbackLoop(const Codec& codec, std::span<const float> numbers)
      : codec_(codec),
        numbers_(numbers),
        a_(static_cast<size_t>(codec.elements()), 0.0F),
        payload_(static_cast<size_t>(codec.payload_bytes_max())) {}

  // reuse: with the threshold of the round before.
  void run(bool reuse) {
    const size_t room = numbers_.size() - a_.size();
    const auto v = numbers_.subspan(static_cast<size_t>(round_++) * 7919 % room, a_.size());
    if (!reuse) {
      state_ = EncodeState{};
    }
    const auto size = codec_.encode_sum(v, kDecay, a_, state_, payload_);
    require(size.ok(), size.status().ToString());
    size_ = *size;
    const absl::Status status = codec_.decode_add(payload(), -1.0F, a_);
    require(status.ok(), status.ToString());
  }
  std::span<const uint8_t> payload() const { return std::span(payload_).first(size_); }

  // The largest elements were sent, and as many as there shall be. Returns how many.
  int64_t check_kept(int64_t least, int64_t most, bool exact) {
    std::vector<float> sent(a_.size());
    require(codec_.decode(payload(), sent).ok(), "top-k: our payload decodes");
    int64_t kept = 0;
    float smallest = std::numeric_limits<float>::infinity();
    float largest_left = 0;
    for (size_t i = 0; i < a_.size(); ++i) {
      if (sent[i] != 0) {
        ++kept;
        smallest = std::min(smallest, std::abs(a_[i] + sent[i]));
      } else {
        largest_left = std::max(largest_left, std::abs(a_[i]));
      }
    }
    require(least <= kept && kept <= most,
            absl::StrCat("top-k kept ", kept, ", must be ", least, "..", most));
    // a + D gives back what was before D was taken away, but for a rounding.
    require(!exact || largest_left <= smallest * (1 + 1e-5F),
            absl::StrCat("top-k left ", largest_left, " and kept ", smallest));
    return kept;
  }

 private:
  const Codec& codec_;
  std::span<const float> numbers_;
  int64_t round_ = 0;
  std::vector<float> a_;
  std::vector<uint8_t> payload_;
  size_t size_ = 0;
  EncodeState state_;
};

void report(std::vector<Contestant>& contest, const std::string& name, const std::string& peer,
            Report& out) {
  const Contestant* ours = Contestant::find(contest, name);
  if (peer.empty()) {
    out.add(name, ours->speed, "GB/s");
  } else if (const Contestant* other = Contestant::find(contest, peer)) {
    out.add(name, ours->speed, "GB/s", peer, other->speed);
  }
}

void say_without_torch() {
  std::cerr << "built without libtorch: the rows that compare with it are left out\n";
}

// Encodes `values` over and over, and adds up what that decodes to.
class OneWay {
 public:
  OneWay(const core::CodecSpec& spec, std::span<const float> values, double error_max)
      : codec_(make(spec, static_cast<int64_t>(values.size()))),
        values_(values),
        error_max_(error_max),
        payload_(static_cast<size_t>(codec_->payload_bytes_max())) {}

  void encode() {
    EncodeState state;
    const auto size = codec_->encode(values_, state, payload_);
    require(size.ok(), size.status().ToString());
    size_ = *size;
  }
  void check_encoded() const {
    std::vector<float> decoded(values_.size());
    require(codec_->decode(std::span(payload_).first(size_), decoded).ok(), "our payload decodes");
    const double error = relative_error(values_, decoded);
    require(error <= error_max_, absl::StrCat("relative error ", error, ", limit ", error_max_));
  }
  void decode_add(std::span<float> sum) const {
    const auto status = codec_->decode_add(std::span(payload_).first(size_), 1.0F, sum);
    require(status.ok(), status.ToString());
  }

 private:
  std::unique_ptr<Codec> codec_;
  std::span<const float> values_;
  double error_max_;
  std::vector<uint8_t> payload_;
  size_t size_ = 0;
};

// The sum of `times` payloads of about `values`.
void check_sum(std::span<const float> values, std::span<const float> sum, int times,
               double error_max) {
  std::vector<float> mean(sum.begin(), sum.end());
  for (float& value : mean) {
    value /= static_cast<float>(times);
  }
  const double error = relative_error(values, mean);
  require(error <= error_max, absl::StrCat("relative error of a sum ", error));
}

struct DenseCase {
  std::string name;
  core::CodecSpec spec;
  double error_max = 0;  // on normal numbers, twice what theory says
};

}  // namespace

void add_top_k_rows(const CodecBenchOptions& options, Report& out) {
  std::vector<float> numbers = normal_numbers(1, options.elements + (1 << 16));
  const std::span<float> v = std::span(numbers).first(static_cast<size_t>(options.elements));
  const std::unique_ptr<Codec> codec = make(kTopK, options.elements);
  const int64_t k = core::kept_elements(kDensity, options.elements);
  const int64_t k_max = core::kept_elements_max(kDensity, options.elements);
  FeedbackLoop exact(*codec, numbers);
  FeedbackLoop reused(*codec, numbers);
  for (int i = 0; i < kSettleRounds; ++i) {
    exact.run(/*reuse=*/true);
    reused.run(/*reuse=*/true);
  }
  std::vector<float> e(v.size(), 0.0F);
  std::vector<float> copy(v.size());
  Samples kept;
  const double bytes = bytes_of(v);
  std::vector<Contestant> contest = {
      {"top_k_exact_1pct", bytes, [&] { exact.run(false); },
       [&] { exact.check_kept(k, k, /*exact=*/true); }},
      {"top_k_reused_1pct", bytes, [&] { reused.run(true); },
       [&] {
         const int64_t found = reused.check_kept(k / 2, k_max, /*exact=*/false);
         kept.add(static_cast<double>(found) / static_cast<double>(k));
       }},
      {"memcpy", bytes, [&] { std::memcpy(copy.data(), v.data(), v.size_bytes()); }},
      {"e_plus_g", bytes, [&] { add_to(e, v); }}};
  const auto torch = make_torch_peers(v);
  if (torch != nullptr) {
    contest.push_back({"libtorch_topk", bytes, [&] { require(torch->top_k(k) == k, "topk"); }});
  } else {
    say_without_torch();
  }
  measure(contest, options.repetitions);
  for (const char* name : {"top_k_exact_1pct", "top_k_reused_1pct"}) {
    for (const char* peer : {"libtorch_topk", "e_plus_g", "memcpy"}) {
      report(contest, name, peer, out);
    }
  }
  out.add("top_k_reused_kept_over_k", kept, "x");
}

void add_dense_rows(const CodecBenchOptions& options, Report& out) {
  std::vector<float> v = normal_numbers(2, options.elements);
  const double bytes = bytes_of(v);
  std::vector<float> sum(v.size());
  std::vector<float> copy(v.size());
  uint32_t checksum = 0;
  const auto torch = make_torch_peers(v);
  std::vector<Contestant> contest = {
      {"memcpy", bytes, [&] { std::memcpy(copy.data(), v.data(), v.size() * sizeof(float)); }},
      {"crc32c", bytes, [&] {
         const auto* data = reinterpret_cast<const uint8_t*>(v.data());
         checksum = core::crc32c({data, v.size() * sizeof(float)});
       }}};
  if (torch != nullptr) {
    contest.push_back({"libtorch_quantize", bytes, [&] { torch->quantize_int8(); }});
    contest.push_back({"libtorch_dequantize_add", bytes, [&] { torch->dequantize_add(copy); }});
  } else {
    say_without_torch();
  }
  std::vector<std::unique_ptr<OneWay>> codecs;
  const std::vector<DenseCase> cases = {
      {"int8", kInt8, 1e-4}, {"int4", kInt4, 0.02}, {"sign_rows", kSign, 0.4}};
  for (const DenseCase& row : cases) {
    OneWay* codec = codecs.emplace_back(std::make_unique<OneWay>(row.spec, v, row.error_max)).get();
    contest.push_back({row.name + "_encode", bytes, [codec] { codec->encode(); },
                       [codec] { codec->check_encoded(); }});
    contest.push_back({row.name + "_decode_add", bytes, [codec, &sum] { codec->decode_add(sum); },
                       [&, limit = row.error_max] {
                         check_sum(v, sum, 1, limit);
                         std::fill(sum.begin(), sum.end(), 0.0F);
                       }});
  }
  measure(contest, options.repetitions);
  require(checksum != 0, "the checksum of normal numbers");
  for (const DenseCase& row : cases) {
    report(contest, row.name + "_encode", "memcpy", out);
    report(contest, row.name + "_encode", "libtorch_quantize", out);
    report(contest, row.name + "_decode_add", "memcpy", out);
    report(contest, row.name + "_decode_add", "libtorch_dequantize_add", out);
  }
  report(contest, "crc32c", "memcpy", out);
}

}  // namespace laconic::bench
