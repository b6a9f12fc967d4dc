#include <algorithm>
#include <vector>

#include "common/compress/positions.h"
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
  const int64_t kept = 1 + static_cast<int64_t>(input.take(2)) % elements;
  const Bytes rest = input.rest();
  // A buffer of exactly this size, so that the sanitizer sees a read behind it.
  const std::vector<uint8_t> section(rest.begin(), rest.end());
  const absl::Status size = compress::check_positions_size(section, elements, kept);
  check_data_loss_or_ok(size, "check_positions_size");
  if (!size.ok()) {
    return false;
  }
  std::vector<uint32_t> found(static_cast<size_t>(kept));
  const absl::Status status = compress::decode_positions(section, elements, found);
  check_data_loss_or_ok(status, "decode_positions");
  if (!status.ok()) {
    return false;
  }
  check(std::ranges::adjacent_find(found, std::ranges::greater_equal()) == found.end(),
        "positions ascend strictly");
  check(found.back() < elements, "positions are within the vector");
  std::vector<uint8_t> again;
  compress::encode_positions(found, elements, again);
  check(again == section, "positions have one code only");
  return true;
}

}  // namespace laconic::fuzz
