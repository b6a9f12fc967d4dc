// Memory of payloads that comes back when its last reader, on whatever thread, has let it go.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "common/core/byte_buffer.h"

namespace laconic::compress {

// Keeps up to `spares` buffers to be used again, the last one returned first, because its memory is
// likeliest to be in a cache; more are freed. Buffers may outlive the pool. Thread-safe.
class BufferPool {
 public:
  explicit BufferPool(size_t spares = 1) : spare_(std::make_shared<Spare>(spares)) {}

  // A buffer of its own for the caller; size and content are unspecified.
  std::shared_ptr<core::ByteBuffer> take() {
    std::unique_ptr<core::ByteBuffer> buffer;
    {
      const std::lock_guard lock(spare_->mutex);
      if (!spare_->buffers.empty()) {
        buffer = std::move(spare_->buffers.back());
        spare_->buffers.pop_back();
      }
    }
    if (buffer == nullptr) {
      buffer = std::make_unique<core::ByteBuffer>();
    }
    return {buffer.release(), [spare = spare_](core::ByteBuffer* returned) {
              std::unique_ptr<core::ByteBuffer> owned(returned);
              // The lock is what makes the reader's reads end before the next writes begin.
              const std::lock_guard lock(spare->mutex);
              if (spare->buffers.size() < spare->limit) {
                spare->buffers.push_back(std::move(owned));
              } else if (spare->limit > 0) {
                std::swap(spare->buffers.back(), owned);
              }
            }};
  }

 private:
  struct Spare {
    explicit Spare(size_t spares) : limit(spares) {}
    const size_t limit;
    std::mutex mutex;
    std::vector<std::unique_ptr<core::ByteBuffer>> buffers;
  };

  std::shared_ptr<Spare> spare_;
};

}  // namespace laconic::compress
