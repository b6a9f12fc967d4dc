// Values in few bits, with scales per group of consecutive values. Every codec's payload is, or
// ends in, what this makes.
//
//   v  a value    s  scale of a group, bfloat16    b  bits per value    q  code of a value
//
// Layout: scales of all groups, then b bits per value without a gap between groups, the last byte
// filled up with zeros. A group's scales and the meaning of its codes (sign = highest bit):
//
//   kFloat32    no scale; the float32 itself
//   kLinear8    s = absmax / 127 rounded up;  q = v / s to nearest, ties to even;  D = q s
//   kLinear4    s = absmax / 7 rounded up, likewise
//   kLog4       min, max of |v|;  level i of 0..7 is min (max/min)^(i/7), nearest level
//               min = 0 (some |v| < max / 128): level 0 is 0, level i is max / 2^(7-i)
//   kTwoLevels  low, high: means of |v| below and above a threshold that starts at 1.23 mean |v|
//               and takes three Lloyd steps;  the nearer level
//   kSign       s = mean |v|;  D = s or -s
//
// Sources: Seide et al., "1-bit SGD", Interspeech 2014, and Karimireddy et al., "Error Feedback
// Fixes SignSGD", ICML 2019 (sign and mean); Max, "Quantizing for Minimum Distortion", IRE 1960,
// and Lloyd, IEEE Trans. Inf. Theory 1982 (two levels; 1.23 is the Gaussian optimum 0.9816 sigma
// over mean 0.7979 sigma); Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR
// 2022.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/compress/squared_norm.h"
#include "common/core/payload_size.h"

namespace laconic::compress {

// Consecutive groups of equal length.
struct GroupRun {
  int64_t groups = 0;  // >= 1
  int64_t length = 0;  // values of each, >= 1
};

// Stateless after construction; may be used by several threads at once. Allocates nothing per call.
class ValueCoder {
 public:
  // groups: in the order of their values, at least one. One group of all values for kFloat32.
  ValueCoder(core::ValueCode code, std::vector<GroupRun> groups);

  int64_t values() const { return values_; }
  int64_t bytes() const { return bytes_; }

  // in: [values()] f32. out: [bytes()], overwritten.
  // Returns false if a value is not finite; `out` is unspecified then.
  [[nodiscard]] bool encode(std::span<const float> in, std::span<uint8_t> out) const;

  // a <- decay a + v, then as encode(a). v, a: [values()] f32. One pass over memory, also with
  // squares, which get |v|^2 and |decay a + v|^2.
  // Returns false if a value of the sum is not finite; behind the first such value `a` is
  // unspecified then.
  [[nodiscard]] bool encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                std::span<uint8_t> out, EncodeSquares* squares = nullptr) const;

  // Appends bytes() bytes to `out`. in: [values()] f32, finite.
  void encode(std::span<const float> in, std::vector<uint8_t>& out) const;

  // in: from a peer. out: [values()] f32, overwritten, finite; unspecified after an error.
  // Errors: DataLoss for a wrong size, a scale that no encoder makes, a reserved code, or bits set
  // behind the last value.
  absl::Status decode(std::span<const uint8_t> in, std::span<float> out) const;

  // sum <- sum + sign D(in), sign: 1 or -1. Otherwise as decode. squares gets |sum|^2 afterwards.
  absl::Status decode_add(std::span<const uint8_t> in, float sign, std::span<float> sum,
                          double* squares = nullptr) const;

 private:
  struct Job;

  bool encode_runs(const Job& job, std::span<uint8_t> out) const;
  absl::Status decode_runs(std::span<const uint8_t> in, const Job& job) const;
  absl::Status find_fault(std::span<const uint8_t> in) const;
  size_t scale_bytes() const;

  core::ValueCode code_;
  std::vector<GroupRun> groups_;
  int64_t values_ = 0;
  int64_t group_count_ = 0;
  int64_t bytes_ = 0;
};

// Groups of `group` values each, the last one short.
std::vector<GroupRun> even_groups(int64_t values, int64_t group);

}  // namespace laconic::compress
