#include "common/compress/value_coder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/levels.h"
#include "common/core/bfloat16.h"
#include "common/core/bits.h"

namespace laconic::compress {
namespace {

using core::ValueCode;

// Two's complement in b bits; the lowest code, -2^(b-1), is reserved.
void put_linear(ValueCode code, float scale, std::span<const float> group, core::BitWriter& out) {
  const int bits = core::value_bits(code);
  const uint32_t mask = (1U << bits) - 1;
  const auto most = static_cast<float>(linear_max(code));
  for (const float v : group) {
    // A division, not a product with 1/s: it makes v - q s exact in float32 (Sterbenz), because q
    // is never off by one at the border between two codes.
    const float q = scale > 0 ? std::clamp(std::nearbyint(v / scale), -most, most) : 0.0F;
    out.put(static_cast<uint32_t>(static_cast<int32_t>(q)) & mask, bits);
  }
}

void put_levels(ValueCode code, const Levels& levels, std::span<const float> group,
                core::BitWriter& out) {
  const int bits = core::value_bits(code);
  for (const float v : group) {
    // A comparison, not the sign bit: equal numbers give equal bytes, also 0 and -0.
    const uint32_t sign = v < 0 ? 1 : 0;
    out.put((sign << (bits - 1)) | nearest_level(levels, std::abs(v)), bits);
  }
}

// What each code of at most 4 bits stands for; a NaN marks the reserved one.
std::array<float, 16> make_table(ValueCode code, const Scales& scales) {
  std::array<float, 16> table{};
  if (code == ValueCode::kLinear4) {
    const float scale = core::bf16_value(scales[0]);
    for (int q = 0; q < 16; ++q) {
      table[static_cast<size_t>(q)] = static_cast<float>(q < 8 ? q : q - 16) * scale;
    }
    table[8] = std::numeric_limits<float>::quiet_NaN();
    return table;
  }
  const Levels levels = make_levels(code, scales);
  const size_t sign = size_t{1} << (core::value_bits(code) - 1);
  for (size_t i = 0; i < sign; ++i) {
    table[i] = levels.magnitude[i];
    table[sign + i] = -levels.magnitude[i];
  }
  return table;
}

// Returns false if a code is the reserved one.
bool get_group(ValueCode code, const Scales& scales, core::BitReader& in, std::span<float> out) {
  bool valid = true;
  if (code == ValueCode::kLinear8) {
    const float scale = core::bf16_value(scales[0]);
    for (float& v : out) {
      const auto q = static_cast<int8_t>(in.get(8));
      valid = valid && q != -128;
      v = static_cast<float>(q) * scale;
    }
    return valid;
  }
  const int bits = core::value_bits(code);
  const std::array<float, 16> table = make_table(code, scales);
  for (float& v : out) {
    v = table[in.get(bits)];
    valid = valid && !std::isnan(v);
  }
  return valid;
}

}  // namespace

std::vector<int64_t> even_groups(int64_t values, int64_t group) {
  std::vector<int64_t> ends;
  ends.reserve(static_cast<size_t>(values / group + 1));
  for (int64_t end = group; end < values; end += group) {
    ends.push_back(end);
  }
  ends.push_back(values);
  return ends;
}

ValueCoder::ValueCoder(ValueCode code, std::vector<int64_t> group_ends)
    : code_(code),
      group_ends_(std::move(group_ends)),
      bytes_(
          core::value_bytes(code, group_ends_.back(), static_cast<int64_t>(group_ends_.size()))) {}

void ValueCoder::encode(std::span<const float> in, std::vector<uint8_t>& out) const {
  const size_t start = out.size();
  if (code_ == ValueCode::kFloat32) {
    out.resize(start + in.size_bytes());
    std::memcpy(out.data() + start, in.data(), in.size_bytes());
    return;
  }
  const auto per_group = static_cast<size_t>(core::scales_per_group(code_));
  out.reserve(start + static_cast<size_t>(bytes_));
  out.resize(start + 2 * per_group * group_ends_.size());
  core::BitWriter codes(out);
  size_t scale_at = start;
  int64_t begin = 0;
  for (const int64_t end : group_ends_) {
    const auto group = in.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    const Scales scales = fit_scales(code_, group);
    for (size_t i = 0; i < per_group; ++i, scale_at += 2) {
      core::store_u16(scales[i], out.data() + scale_at);
    }
    if (code_ == ValueCode::kLinear8 || code_ == ValueCode::kLinear4) {
      put_linear(code_, core::bf16_value(scales[0]), group, codes);
    } else {
      put_levels(code_, make_levels(code_, scales), group, codes);
    }
    begin = end;
  }
  codes.finish();
}

absl::Status ValueCoder::decode(std::span<const uint8_t> in, std::span<float> out) const {
  if (static_cast<int64_t>(in.size()) != bytes_) {
    return absl::DataLossError(
        absl::StrCat("payload: ", in.size(), " bytes for ", values(), " values, must be ", bytes_));
  }
  if (code_ != ValueCode::kFloat32) {
    return decode_groups(in, out);
  }
  std::memcpy(out.data(), in.data(), in.size());
  if (!all_finite(out)) {
    return absl::DataLossError("payload: a value is not finite");
  }
  return absl::OkStatus();
}

absl::Status ValueCoder::decode_groups(std::span<const uint8_t> in, std::span<float> out) const {
  const auto per_group = static_cast<size_t>(core::scales_per_group(code_));
  core::BitReader codes(in.subspan(2 * per_group * group_ends_.size()));
  int64_t begin = 0;
  for (size_t g = 0; g < group_ends_.size(); ++g) {
    Scales scales{};
    for (size_t i = 0; i < per_group; ++i) {
      scales[i] = core::load_u16(in.data() + 2 * (g * per_group + i));
    }
    if (!valid_scales(code_, scales)) {
      return absl::DataLossError(absl::StrCat("payload: scales ", core::bf16_value(scales[0]), ", ",
                                              core::bf16_value(scales[1]), " of group ", g,
                                              " are out of range"));
    }
    const int64_t end = group_ends_[g];
    if (!get_group(code_, scales, codes,
                   out.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)))) {
      return absl::DataLossError(absl::StrCat("payload: a reserved code in group ", g));
    }
    begin = end;
  }
  if (codes.overrun() || !codes.rest_is_zero()) {
    return absl::DataLossError("payload: bits are set behind the last value");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
