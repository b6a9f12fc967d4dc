// Only the largest elements are sent: their positions (positions.h), then their values in groups of
// 256 (value_coder.h), or in exponential levels of all of them together, as the payload of
// exponential_codec.h for one tensor. All other elements decode to 0.
//
//   d  elements    k  core::kept_elements(density, d)    b  bits per value
//   t  threshold: a magnitude
//
// With a new EncodeState exactly the k largest are sent, ties to the lower index. Vectors of at
// least one chunk (65,536) then reuse t, the smallest magnitude sent, in later rounds: everything
// at or above it is sent, which a single pass over memory finds. What was sent decides the next t:
//   more than core::kept_elements_max()  exactly the k largest are sent instead; t is new
//   less than 0.8 k                      the next round is exact
//   32 rounds with the same t            likewise
// Nothing is lost by sending fewer: error feedback keeps it.
#pragma once

#include "common/compress/codec.h"
#include "common/compress/select.h"
#include "common/core/payload_size.h"

namespace laconic::compress {

class TopKCodec final : public Codec {
 public:
  // spec: kTopK, checked by make_codec().
  TopKCodec(const core::CodecSpec& spec, const core::Layout& layout);

  int64_t elements() const override { return elements_; }
  int64_t payload_bytes_max() const override { return payload_bytes_max_; }
  int64_t payload_bytes_expected() const override { return payload_bytes_expected_; }
  bool fixed_size() const override { return false; }
  using Codec::encode;
  absl::StatusOr<size_t> encode(std::span<const float> a, EncodeState& state,
                                std::span<uint8_t> out) const override;
  absl::StatusOr<size_t> encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                    EncodeState& state, std::span<uint8_t> out) const override;
  absl::StatusOr<size_t> encode_sum_measured(std::span<const float> v, float decay,
                                             std::span<float> a, EncodeState& state,
                                             std::span<uint8_t> out,
                                             EncodeSquares& squares) const override;
  // Cost: 4 d bytes written. Memory of the calling thread: 8 bytes per kept element, here and
  // below.
  absl::Status decode(std::span<const uint8_t> payload, std::span<float> out) const override;
  // Cost: O(k). Elements that the payload leaves out are not touched, so a -0 stays one.
  absl::Status decode_add(std::span<const uint8_t> payload, float sign,
                          std::span<float> sum) const override;
  // Cost: O(k).
  absl::StatusOr<double> take_away(std::span<const uint8_t> payload, double squares,
                                   std::span<float> a) const override;
  // Cost: 4 d bytes written and O(k P); 8 bytes of memory per kept element of all payloads. `out`
  // is unchanged after an error.
  absl::Status decode_mean(std::span<const std::span<const uint8_t>> payloads,
                           std::span<float> out) const override;

 private:
  absl::StatusOr<size_t> encode_source(const SelectSource& source, EncodeState& state,
                                       std::span<uint8_t> out) const;
  // Decodes to this thread's memory.
  struct Kept {
    std::span<const uint32_t> positions;
    std::span<const float> values;
  };
  // values: at least one, finite. out: as long as the value section.
  absl::Status encode_values(std::span<const float> values, std::span<uint8_t> out) const;
  absl::Status decode_values(std::span<const uint8_t> section, std::span<float> values) const;
  // before: elements of other payloads that stay in that memory in front of it; spans of them that
  // were given out are void afterwards.
  absl::StatusOr<Kept> decode_kept(std::span<const uint8_t> payload, size_t before) const;

  int64_t elements_;
  int64_t kept_;      // k
  int64_t kept_max_;  // the most that a payload may hold
  core::CodecSpec spec_;
  int64_t payload_bytes_max_;
  int64_t payload_bytes_expected_;
};

}  // namespace laconic::compress
