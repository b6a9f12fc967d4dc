#include <algorithm>
#include <vector>

#include "common/compress/positions.h"
#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {
namespace {

constexpr int64_t kElementsMax = 4 * 65'536;  // Four chunks.

}  // namespace

bool positions(Bytes bytes) {
  Input input(bytes);
  const int64_t elements = 1 + static_cast<int64_t>(input.take(3)) % kElementsMax;
  const int64_t kept_max = 1 + static_cast<int64_t>(input.take(2)) % elements;
  const Bytes rest = input.rest();
  // A buffer of exactly this size, so that the sanitizer sees a read behind it.
  const std::vector<uint8_t> payload(rest.begin(), rest.end());
  const auto measured = compress::measure_positions(payload, elements, kept_max);
  check_data_loss_or_ok(measured.status(), "measure_positions");
  if (!measured.ok()) {
    return false;
  }
  check(measured->kept <= kept_max, "a section holds no more than it may");
  check(measured->bytes <= payload.size(), "a section ends within its payload");
  const std::vector<uint8_t> section(rest.begin(),
                                     rest.begin() + static_cast<std::ptrdiff_t>(measured->bytes));
  std::vector<uint32_t> found(static_cast<size_t>(measured->kept));
  const absl::Status status = compress::decode_positions(section, elements, found);
  check_data_loss_or_ok(status, "decode_positions");
  if (!status.ok()) {
    return false;
  }
  check(std::ranges::adjacent_find(found, std::ranges::greater_equal()) == found.end(),
        "positions ascend strictly");
  check(found.empty() || found.back() < elements, "positions are within the vector");
  const int64_t bits = core::position_bits_max(elements, measured->kept);
  std::vector<uint8_t> again(static_cast<size_t>(core::bytes_for_bits(bits)));
  again.resize(compress::encode_positions(found, elements, again));
  check(again == section, "positions have one code only");
  return true;
}

}  // namespace laconic::fuzz
