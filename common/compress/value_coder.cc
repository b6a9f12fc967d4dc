#include "common/compress/value_coder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/levels.h"
#include "common/compress/quantize_kernels.h"
#include "common/core/bfloat16.h"
#include "common/core/bits.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

using core::ValueCode;

CodeKernels kernels_of(ValueCode code) {
  const QuantizeKernels& set = quantize_kernels();
  switch (code) {
    case ValueCode::kFloat32:
      return set.float32;
    case ValueCode::kLinear8:
      return set.linear8;
    case ValueCode::kLinear4:
      return set.linear4;
    case ValueCode::kLog4:
      return set.log4;
    case ValueCode::kTwoLevels:
      return set.two_levels;
    case ValueCode::kSign:
      return set.sign;
  }
  return {};
}

// How many of the groups behind the first `done` a kernel takes: all, or as many as stay in L1 for
// another look at their values.
int64_t groups_at_once(const GroupRun& groups, int64_t done, bool few) {
  constexpr int64_t kValues = 4096;
  const int64_t left = groups.groups - done;
  return few ? std::min(left, std::max<int64_t>(1, kValues / groups.length)) : left;
}

// Writes the bits that do not fill a word; the last byte is filled up with zeros.
void finish(const CodeSink& sink) {
  std::memcpy(sink.out, &sink.pending, static_cast<size_t>(core::bytes_for_bits(sink.bits)));
}

absl::Status check_codes(ValueCode code, std::span<const uint8_t> codes) {
  core::BitReader reader(codes);
  const int bits = core::value_bits(code);
  const uint32_t reserved = 1U << (bits - 1);
  for (int64_t i = 0; reader.bits_left() >= bits; ++i) {
    if (reader.get(bits) == reserved) {
      return absl::DataLossError(absl::StrCat("payload: the reserved code at value ", i));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// What to encode from or decode to, in memory of the caller.
struct ValueCoder::Job {
  const float* values = nullptr;
  const float* addend = nullptr;
  float* out = nullptr;
  float factor = 1;  // decay or sign
  bool add = false;
  EncodeSquares* squares = nullptr;  // of an encode
  double* left = nullptr;            // of a decode: |out|^2
};

std::vector<GroupRun> even_groups(int64_t values, int64_t group) {
  std::vector<GroupRun> groups;
  if (values >= group) {
    groups.push_back({.groups = values / group, .length = group});
  }
  if (values % group != 0) {
    groups.push_back({.groups = 1, .length = values % group});
  }
  return groups;
}

ValueCoder::ValueCoder(ValueCode code, std::vector<GroupRun> groups)
    : code_(code), groups_(std::move(groups)) {
  for (const GroupRun& run : groups_) {
    values_ += run.groups * run.length;
    group_count_ += run.groups;
  }
  bytes_ = core::value_bytes(code, values_, group_count_);
}

size_t ValueCoder::scale_bytes() const {
  return static_cast<size_t>(int64_t{2} * core::scales_per_group(code_) * group_count_);
}

bool ValueCoder::encode(std::span<const float> in, std::span<uint8_t> out) const {
  return encode_runs({.values = in.data()}, out);
}

bool ValueCoder::encode_sum(std::span<const float> v, float decay, std::span<float> a,
                            std::span<uint8_t> out, EncodeSquares* squares) const {
  return encode_runs({.values = a.data(),
                      .addend = v.data(),
                      .out = a.data(),
                      .factor = decay,
                      .add = true,
                      .squares = squares},
                     out);
}

void ValueCoder::encode(std::span<const float> in, std::vector<uint8_t>& out) const {
  const size_t start = out.size();
  out.resize(start + static_cast<size_t>(bytes_));
  // The values are finite, so nothing can fail.
  static_cast<void>(encode(in, std::span(out).subspan(start)));
}

bool ValueCoder::encode_runs(const Job& job, std::span<uint8_t> out) const {
  if (job.squares != nullptr) {
    *job.squares = {};
  }
  const CodeKernels kernels = kernels_of(code_);
  const EncodeKernel kernel = job.add ? kernels.encode_sum : kernels.encode;
  const auto scales_per_group = static_cast<int64_t>(core::scales_per_group(code_));
  CodeSink sink{.out = out.data() + scale_bytes()};
  EncodeRun run{.values = job.values,
                .addend = job.addend,
                .sum = job.out,
                .decay = job.factor,
                .scales = out.data()};
  for (const GroupRun& groups : groups_) {
    run.length = groups.length;
    for (int64_t done = 0; done < groups.groups; done += run.groups) {
      run.groups = groups_at_once(groups, done, job.squares != nullptr);
      const int64_t values = run.groups * run.length;
      if (job.squares != nullptr) {
        job.squares->v += squared_norm({run.addend, static_cast<size_t>(values)});
      }
      if (!kernel(run, sink)) {
        return false;
      }
      run.values += values;
      if (job.add && job.squares != nullptr) {
        job.squares->a += squared_norm({run.sum, static_cast<size_t>(values)});
      }
      if (job.add) {
        run.addend += values;
        run.sum += values;
      }
      run.scales += 2 * scales_per_group * run.groups;
    }
  }
  finish(sink);
  return true;
}

absl::Status ValueCoder::decode(std::span<const uint8_t> in, std::span<float> out) const {
  return decode_runs(in, {.out = out.data()});
}

absl::Status ValueCoder::decode_add(std::span<const uint8_t> in, float sign, std::span<float> sum,
                                    double* squares) const {
  return decode_runs(in, {.out = sum.data(), .factor = sign, .add = true, .left = squares});
}

absl::Status ValueCoder::decode_runs(std::span<const uint8_t> in, const Job& job) const {
  if (static_cast<int64_t>(in.size()) != bytes_) {
    return absl::DataLossError(
        absl::StrCat("payload: ", in.size(), " bytes for ", values(), " values, must be ", bytes_));
  }
  if (job.left != nullptr) {
    *job.left = 0;
  }
  const CodeKernels kernels = kernels_of(code_);
  const DecodeKernel kernel = job.add ? kernels.decode_add : kernels.decode;
  const std::span<const uint8_t> codes = in.subspan(scale_bytes());
  const auto scales_per_group = static_cast<int64_t>(core::scales_per_group(code_));
  CodeSource source{.bytes = codes.data(), .size = codes.size()};
  DecodeRun run{.scales = in.data(), .out = job.out, .sign = job.factor};
  for (const GroupRun& groups : groups_) {
    run.length = groups.length;
    for (int64_t done = 0; done < groups.groups; done += run.groups) {
      run.groups = groups_at_once(groups, done, job.left != nullptr);
      if (!kernel(run, source)) {
        return find_fault(in);
      }
      const int64_t values = run.groups * run.length;
      if (job.left != nullptr) {
        *job.left += squared_norm({run.out, static_cast<size_t>(values)});
      }
      run.out += values;
      run.scales += 2 * scales_per_group * run.groups;
    }
  }
  const auto used = static_cast<int>(source.at % 8);
  if (used != 0 && codes.back() >> used != 0) {
    return absl::DataLossError("payload: bits are set behind the last value");
  }
  return absl::OkStatus();
}

// Says what a kernel found. Slow, and only for payloads that are refused.
absl::Status ValueCoder::find_fault(std::span<const uint8_t> in) const {
  if (code_ == ValueCode::kFloat32) {
    return absl::DataLossError("payload: a value is not finite");
  }
  const auto per_group = static_cast<size_t>(core::scales_per_group(code_));
  for (size_t g = 0; g < static_cast<size_t>(group_count_); ++g) {
    Scales scales{};
    for (size_t i = 0; i < per_group; ++i) {
      scales[i] = core::load_u16(in.data() + 2 * (g * per_group + i));
    }
    if (!valid_scales(code_, scales)) {
      return absl::DataLossError(absl::StrCat("payload: scales ", core::bf16_value(scales[0]), ", ",
                                              core::bf16_value(scales[1]), " of group ", g,
                                              " are out of range"));
    }
  }
  // Only the linear codes have a reserved one.
  LACONIC_RETURN_IF_ERROR(check_codes(code_, in.subspan(scale_bytes())));
  return absl::InternalError("payload: a kernel refuses what the check accepts");
}

}  // namespace laconic::compress
