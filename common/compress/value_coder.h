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
//   and
//               takes three Lloyd steps;  the nearer level
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
#include "common/core/payload_size.h"

namespace laconic::compress {

// Stateless after construction; may be used by several threads at once.
class ValueCoder {
 public:
  // group_ends[g]: index after the last value of group g; ascending, the last one is the number of
  // values. One group of all values for kFloat32.
  ValueCoder(core::ValueCode code, std::vector<int64_t> group_ends);

  int64_t values() const { return group_ends_.back(); }
  int64_t bytes() const { return bytes_; }

  // Appends bytes() bytes to `out`. in: [values()] f32, finite.
  void encode(std::span<const float> in, std::vector<uint8_t>& out) const;

  // in: from a peer. out: [values()] f32, overwritten, finite; unspecified after an error.
  // Errors: DataLoss for a wrong size, a scale that no encoder makes, a reserved code, or bits set
  // behind the last value.
  absl::Status decode(std::span<const uint8_t> in, std::span<float> out) const;

 private:
  absl::Status decode_groups(std::span<const uint8_t> in, std::span<float> out) const;

  core::ValueCode code_;
  std::vector<int64_t> group_ends_;
  int64_t bytes_;
};

// Ends of groups of `group` values each, the last one short.
std::vector<int64_t> even_groups(int64_t values, int64_t group);

}  // namespace laconic::compress
