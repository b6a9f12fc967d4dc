// Memory of payloads that comes back when its last reader, on whatever thread, has let it go.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "common/core/byte_buffer.h"

namespace laconic::compress {

// Keeps one buffer to be used again; more are freed. Buffers may outlive the pool.
class BufferPool {
 public:
  // A buffer of its own for the caller; size and content are unspecified.
  std::shared_ptr<core::ByteBuffer> take() {
    std::unique_ptr<core::ByteBuffer> buffer;
    {
      const std::lock_guard lock(spare_->mutex);
      buffer = std::move(spare_->buffer);
    }
    if (buffer == nullptr) {
      buffer = std::make_unique<core::ByteBuffer>();
    }
    return {buffer.release(), [spare = spare_](core::ByteBuffer* returned) {
              std::unique_ptr<core::ByteBuffer> owned(returned);
              // The lock is what makes the reader's reads end before the next writes begin.
              const std::lock_guard lock(spare->mutex);
              std::swap(spare->buffer, owned);
            }};
  }

 private:
  struct Spare {
    std::mutex mutex;
    std::unique_ptr<core::ByteBuffer> buffer;
  };

  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
};

}  // namespace laconic::compress
