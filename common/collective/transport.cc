#include "common/collective/transport.h"

#include <utility>

namespace laconic::collective {

ByteCounts& ByteCounts::operator+=(const ByteCounts& other) {
  sent += other.sent;
  received += other.received;
  payload_sent += other.payload_sent;
  payload_received += other.payload_received;
  return *this;
}

Payload::Payload(std::vector<uint8_t> bytes) {
  const auto held = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  data = held->data();
  size = held->size();
  owner = held;
}

Payload::Payload(std::shared_ptr<const core::ByteBuffer> buffer)
    : owner(buffer), data(buffer->data()), size(buffer->size()) {}

Payload Payload::slice(size_t offset, size_t count) const {
  Payload part = *this;
  part.data += offset;
  part.size = count;
  part.crc32c.reset();
  return part;
}

}  // namespace laconic::collective
