// The order of an operation before its reaction, said so that ThreadSanitizer can see it.
#pragma once

#include <atomic>
#include <cstdint>

namespace laconic::wire {

// gRPC calls a reaction (OnReadDone, ...) after the operation was started, and so after all that
// was written before it; but that order lies inside a library that is not instrumented. A reactor
// whose reactions use its fields without a lock calls started() before it starts an operation, and
// reacts() first in the reaction. Nanoseconds; any thread.
class ReactorOrder {
 public:
  // A read-modify-write: a reaction then follows every operation that was started before, not only
  // the last one.
  void started() { operations_.fetch_add(1, std::memory_order_release); }
  void reacts() const { static_cast<void>(operations_.load(std::memory_order_acquire)); }

 private:
  std::atomic<uint64_t> operations_ = 0;
};

}  // namespace laconic::wire
