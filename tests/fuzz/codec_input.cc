#include "tests/fuzz/codec_input.h"

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "tests/compress/test_vectors.h"
#include "tests/fuzz/checks.h"

namespace laconic::fuzz {
namespace {

constexpr int64_t kShortMax = 300;
constexpr int64_t kLowMax = 65'536;
constexpr uint8_t kLong = 7;
constexpr size_t kCodecsKept = 64;

// One of every codec that has the stage, and bits of top-k.
void add_entropy_stages(std::vector<core::CodecSpec>& specs) {
  using core::CodecKind;
  std::vector<core::CodecSpec> inner = {
      compress::quantize_blocks(8, 64),
      compress::quantize_rows(4),
      {.kind = CodecKind::kExponential, .bits = 3},
      {.kind = CodecKind::kNatural},
      {.kind = CodecKind::kChunkedTopK, .bits = 4, .chunk = 64, .per_chunk = 16},
      {.kind = CodecKind::kTopK, .bits = 3, .density = 0.5, .exponential = true}};
  for (const int bits : {32, 8, 4, 2, 1}) {
    inner.push_back(compress::top_k(bits, bits == 4 ? 0.5 : 0.1));
  }
  for (core::CodecSpec& spec : inner) {
    spec.entropy = true;
    specs.push_back(spec);
  }
}

// every_spec() and the kinds that it leaves out.
std::vector<core::CodecSpec> all_specs() {
  using core::CodecKind;
  std::vector<core::CodecSpec> specs = compress::every_spec();
  for (const bool scaled : {false, true}) {
    specs.push_back({.kind = CodecKind::kRandK, .density = 0.1, .scaled = scaled});
    specs.push_back({.kind = CodecKind::kPermK, .scaled = scaled, .rank = 1, .world_size = 3});
  }
  for (const int bits : {32, 8, 4, 2, 1}) {
    specs.push_back(
        {.kind = CodecKind::kChunkedTopK, .bits = bits, .chunk = 4096, .per_chunk = 64});
    specs.push_back({.kind = CodecKind::kChunkedTopK, .bits = bits, .chunk = 64, .per_chunk = 3});
  }
  for (const int bits : {8, 4}) {
    specs.push_back({.kind = CodecKind::kQuantize, .bits = bits, .block = 64, .stochastic = true});
  }
  specs.push_back({.kind = CodecKind::kNatural});
  for (const int bits : {4, 3, 2}) {
    specs.push_back({.kind = CodecKind::kExponential, .bits = bits});
    specs.push_back({.kind = CodecKind::kTopK, .bits = bits, .density = 0.1, .exponential = true});
  }
  for (const int factors : {1, 3}) {
    specs.push_back({.kind = CodecKind::kLowRank, .factors = factors});
  }
  add_entropy_stages(specs);
  return specs;
}

const std::vector<core::CodecSpec>& specs() {
  static const auto* const kSpecs = new std::vector<core::CodecSpec>(all_specs());
  return *kSpecs;
}

core::Layout layout_of(const CodecChoice& choice) {
  core::Layout layout;
  const int64_t rows = choice.elements / choice.columns;
  if (rows > 0) {
    layout.tensors.push_back({"weight", rows, choice.columns});
  }
  if (const int64_t rest = choice.elements % choice.columns; rest > 0) {
    layout.tensors.push_back({"bias", 1, rest});
  }
  return layout;
}

}  // namespace

CodecChoice take_choice(Input& input) {
  CodecChoice choice;
  choice.spec = input.take_byte() % specs().size();
  const int size_class = input.take_byte();
  const auto number = static_cast<int64_t>(input.take(2));
  // Long vectors are slow, and most of what can go wrong does so in short ones.
  if (size_class % 8 != kLong) {
    choice.elements = 1 + number % kShortMax;
  } else {
    choice.elements = 1 + number + ((size_class & 8) != 0 ? kFuzzElementsMax - kLowMax : 0);
  }
  choice.columns = 1 + input.take_byte();
  return choice;
}

std::vector<uint8_t> choice_bytes(const CodecChoice& choice) {
  int64_t number = choice.elements - 1;
  uint8_t size_class = 0;
  if (choice.elements > kShortMax) {
    size_class = choice.elements > kLowMax ? kLong | 8 : kLong;
    number -= choice.elements > kLowMax ? kFuzzElementsMax - kLowMax : 0;
  }
  return {static_cast<uint8_t>(choice.spec), size_class, static_cast<uint8_t>(number),
          static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(choice.columns - 1)};
}

size_t spec_count() {
  return specs().size();
}

const core::CodecSpec& spec_of(const CodecChoice& choice) {
  return specs()[choice.spec];
}

const compress::Codec& codec_of(const CodecChoice& choice) {
  using Key = std::tuple<size_t, int64_t, int64_t>;
  static auto* const kept = new std::map<Key, std::unique_ptr<compress::Codec>>();
  const Key key = {choice.spec, choice.elements, choice.columns};
  auto at = kept->find(key);
  if (at == kept->end()) {
    if (kept->size() == kCodecsKept) {
      kept->clear();
    }
    auto made = compress::make_codec(spec_of(choice), layout_of(choice));
    check(made.ok(), "a codec of the table can be made: " + made.status().ToString());
    at = kept->emplace(key, *std::move(made)).first;
  }
  return *at->second;
}

const std::vector<compress::SimdLevel>& simd_levels() {
  static const auto* const kLevels = [] {
    auto* levels = new std::vector<compress::SimdLevel>();
    for (const auto level :
         {compress::SimdLevel::kScalar, compress::SimdLevel::kAvx2, compress::SimdLevel::kAvx512}) {
      if (level <= compress::simd_supported()) {
        levels->push_back(level);
      }
    }
    return levels;
  }();
  return *kLevels;
}

}  // namespace laconic::fuzz
