#include "common/core/state_bytes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"

namespace laconic::core {
namespace {

static_assert(std::endian::native == std::endian::little, "states are copied as they lie");

constexpr char kMagic[4] = {'L', 'A', 'C', 'S'};
constexpr size_t kHeadBytes = sizeof(kMagic) + sizeof(kStateVersion);
constexpr size_t kDigestBytes = sizeof(uint64_t);
constexpr size_t kFieldHeadBytes = 1 + sizeof(uint64_t);
constexpr size_t kTextShownMax = 80;

constexpr uint8_t kText = 1;
constexpr uint8_t kInteger = 2;
constexpr uint8_t kFloats = 3;
constexpr uint8_t kHalves = 4;
constexpr uint8_t kBytes = 5;

template <typename Number>
Number number_at(std::span<const uint8_t> bytes, size_t at) {
  Number number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof(number));
  return number;
}

void append(std::vector<uint8_t>& to, const void* from, size_t bytes) {
  const size_t at = to.size();
  to.resize(at + bytes);
  if (bytes > 0) {
    std::memcpy(to.data() + at, from, bytes);
  }
}

}  // namespace

StateWriter::StateWriter() {
  append(bytes_, kMagic, sizeof(kMagic));
  append(bytes_, &kStateVersion, sizeof(kStateVersion));
}

void StateWriter::field(uint8_t kind, size_t element_bytes, std::span<const std::byte> bytes) {
  const uint64_t elements = bytes.size() / element_bytes;
  bytes_.push_back(kind);
  append(bytes_, &elements, sizeof(elements));
  append(bytes_, bytes.data(), bytes.size());
}

void StateWriter::text(std::string_view value) {
  field(kText, 1, std::as_bytes(std::span(value.data(), value.size())));
}

void StateWriter::integer(int64_t value) {
  field(kInteger, sizeof(value), std::as_bytes(std::span(&value, 1)));
}

void StateWriter::floats(std::span<const float> values) {
  field(kFloats, sizeof(float), std::as_bytes(values));
}

void StateWriter::halves(std::span<const uint16_t> values) {
  field(kHalves, sizeof(uint16_t), std::as_bytes(values));
}

void StateWriter::bytes(std::span<const uint8_t> value) {
  field(kBytes, 1, std::as_bytes(value));
}

std::vector<uint8_t> StateWriter::take() && {
  const uint64_t sum = digest(std::span<const uint8_t>(bytes_));
  append(bytes_, &sum, sizeof(sum));
  return std::move(bytes_);
}

absl::StatusOr<StateReader> StateReader::open(std::span<const uint8_t> bytes) {
  if (bytes.size() < kHeadBytes + kDigestBytes ||
      std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) {
    return absl::DataLossError(absl::StrCat("state: ", bytes.size(), " bytes that are no state"));
  }
  const auto version = number_at<uint32_t>(bytes, sizeof(kMagic));
  if (version != kStateVersion) {
    return absl::DataLossError(
        absl::StrCat("state: version ", version, ", this program reads ", kStateVersion));
  }
  const auto content = bytes.first(bytes.size() - kDigestBytes);
  if (digest(content) != number_at<uint64_t>(bytes, content.size())) {
    return absl::DataLossError("state: the digest differs; bytes are missing or changed");
  }
  return StateReader(content.subspan(kHeadBytes));
}

size_t StateReader::next_length() const {
  return left_.size() < kFieldHeadBytes ? 0 : number_at<uint64_t>(left_, 1);
}

absl::StatusOr<std::span<const uint8_t>> StateReader::field(uint8_t kind, size_t element_bytes,
                                                            size_t elements) {
  if (left_.size() < kFieldHeadBytes) {
    return absl::DataLossError("state: ends before its last field");
  }
  if (left_[0] != kind || next_length() != elements ||
      elements > (left_.size() - kFieldHeadBytes) / element_bytes) {
    return absl::DataLossError(absl::StrCat("state: a field of kind ", left_[0], " and length ",
                                            next_length(), ", due is kind ", kind, " and length ",
                                            elements));
  }
  const size_t bytes = elements * element_bytes;
  const auto content = left_.subspan(kFieldHeadBytes, bytes);
  left_ = left_.subspan(kFieldHeadBytes + bytes);
  return content;
}

absl::Status StateReader::expect_text(std::string_view what, std::string_view value) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> found, field(kText, 1, next_length()));
  if (!std::ranges::equal(found, std::as_bytes(std::span(value.data(), value.size())),
                          [](uint8_t a, std::byte b) { return std::byte{a} == b; })) {
    const size_t shown = std::min(found.size(), kTextShownMax);
    return absl::FailedPreconditionError(
        absl::StrCat("state: its ", absl::string_view(what.data(), what.size()), " is \"",
                     absl::string_view(reinterpret_cast<const char*>(found.data()), shown),
                     "\", ours is \"", absl::string_view(value.data(), value.size()), "\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> StateReader::integer() {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> found,
                           field(kInteger, sizeof(int64_t), 1));
  return number_at<int64_t>(found, 0);
}

absl::StatusOr<int64_t> StateReader::integer(std::string_view what, int64_t low, int64_t high) {
  LACONIC_ASSIGN_OR_RETURN(const int64_t value, integer());
  if (value < low || value > high) {
    return absl::DataLossError(absl::StrCat("state: ", absl::string_view(what.data(), what.size()),
                                            " is ", value, ", allowed: ", low, "..", high));
  }
  return value;
}

absl::Status StateReader::floats(std::span<float> out) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> found,
                           field(kFloats, sizeof(float), out.size()));
  if (!out.empty()) {
    std::memcpy(out.data(), found.data(), found.size());
  }
  if (!std::all_of(out.begin(), out.end(), [](float x) { return std::isfinite(x); })) {
    return absl::DataLossError("state: a number is not finite");
  }
  return absl::OkStatus();
}

absl::Status StateReader::halves(std::span<uint16_t> out) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> found,
                           field(kHalves, sizeof(uint16_t), out.size()));
  if (!out.empty()) {
    std::memcpy(out.data(), found.data(), found.size());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<const uint8_t>> StateReader::bytes() {
  return field(kBytes, 1, next_length());
}

absl::Status StateReader::done() const {
  if (!left_.empty()) {
    return absl::DataLossError(
        absl::StrCat("state: ", left_.size(), " bytes behind the last field"));
  }
  return absl::OkStatus();
}

}  // namespace laconic::core
