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

ByteCounts bytes_between_sites(const Transport& transport, int ranks_per_site) {
  ByteCounts between;
  for (int peer = 0; peer < transport.world_size(); ++peer) {
    if (peer / ranks_per_site != transport.rank() / ranks_per_site) {
      between += transport.peer_bytes(peer);
    }
  }
  return between;
}

}  // namespace laconic::collective
