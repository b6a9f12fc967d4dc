#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "common/core/digest.h"
#include "common/core/state_bytes.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {
namespace {

constexpr char kText[] = "laconic";

// Reads the next field, of whatever kind it is, and writes it again; false if it is none.
bool copy_field(core::StateReader& reader, size_t length_max, core::StateWriter& writer) {
  const size_t length = std::min(reader.next_length(), length_max);
  if (const auto number = reader.integer(); number.ok()) {
    writer.integer(*number);
    return true;
  }
  if (const auto bytes = reader.bytes(); bytes.ok()) {
    writer.bytes(*bytes);
    return true;
  }
  std::vector<uint16_t> halves(length);
  if (reader.halves(halves).ok()) {
    writer.halves(halves);
    return true;
  }
  const absl::Status text = reader.expect_text("text", kText);
  if (text.ok()) {
    writer.text(kText);
    return true;
  }
  if (absl::IsFailedPrecondition(text)) {
    return false;  // another text
  }
  std::vector<float> floats(length);
  const absl::Status status = reader.floats(floats);
  check_data_loss_or_ok(status, "StateReader::floats");
  writer.floats(floats);
  return status.ok();
}

}  // namespace

bool state(Bytes bytes) {
  check_data_loss_or_ok(core::StateReader::open(bytes).status(), "StateReader::open");
  // The digest is made right, so that what lies behind it is reached.
  std::vector<uint8_t> sealed(bytes.begin(), bytes.end());
  const uint64_t digest = core::digest(std::span<const uint8_t>(sealed));
  sealed.resize(sealed.size() + sizeof(digest));
  std::memcpy(sealed.data() + bytes.size(), &digest, sizeof(digest));
  absl::StatusOr<core::StateReader> reader = core::StateReader::open(sealed);
  check_data_loss_or_ok(reader.status(), "StateReader::open");
  if (!reader.ok()) {
    return false;
  }
  core::StateWriter writer;
  while (!reader->done().ok()) {
    if (!copy_field(*reader, bytes.size(), writer)) {
      return false;
    }
  }
  check(std::move(writer).take() == sealed, "a state has one code only");
  return true;
}

}  // namespace laconic::fuzz
