// The saved state of one rank as bytes: numbers and vectors in the order in which they are read
// again.
//
//   magic "LACS", version u32, then the fields, then XXH3-64 of all before it. A field is its kind
//   u8, its length in elements u64, its elements; everything little-endian.
//
// Readers check the digest first and every kind and length against what they expect before they
// copy, so nothing is allocated for what the bytes claim.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::core {

inline constexpr uint32_t kStateVersion = 1;

class StateWriter {
 public:
  StateWriter();

  void text(std::string_view value);
  void integer(int64_t value);
  void floats(std::span<const float> values);
  void halves(std::span<const uint16_t> values);
  // What another program part made, a state of its own for example.
  void bytes(std::span<const uint8_t> value);

  // Ends the state; nothing may be written afterwards.
  std::vector<uint8_t> take() &&;

 private:
  void field(uint8_t kind, size_t element_bytes, std::span<const std::byte> bytes);

  std::vector<uint8_t> bytes_;
};

class StateReader {
 public:
  // `bytes` must outlive the reader.
  // Errors: DataLoss for bytes that are not a whole state of this version.
  static absl::StatusOr<StateReader> open(std::span<const uint8_t> bytes);

  // Each reads the next field. Errors: DataLoss if it is of another kind or length.
  // expect_text: FailedPrecondition that names `what` if the text is another one.
  absl::Status expect_text(std::string_view what, std::string_view value);
  absl::StatusOr<int64_t> integer();
  // A number outside [low, high] is DataLoss that names `what`.
  absl::StatusOr<int64_t> integer(std::string_view what, int64_t low, int64_t high);
  // out: as many as the field must have; overwritten. A NaN or an infinity is DataLoss.
  absl::Status floats(std::span<float> out);
  absl::Status halves(std::span<uint16_t> out);
  // Refers to the reader's bytes.
  absl::StatusOr<std::span<const uint8_t>> bytes();
  // Elements of the next field.
  size_t next_length() const;

  // Errors: DataLoss if fields are left.
  absl::Status done() const;

 private:
  explicit StateReader(std::span<const uint8_t> fields) : left_(fields) {}
  absl::StatusOr<std::span<const uint8_t>> field(uint8_t kind, size_t element_bytes,
                                                 size_t elements);

  std::span<const uint8_t> left_;
};

}  // namespace laconic::core
