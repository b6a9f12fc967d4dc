#include "common/compress/cuda/machine.h"

#include <utility>

#include "common/core/status_macros.h"

namespace laconic::compress::cuda {

absl::StatusOr<DeviceMemory> DeviceMemory::make(Machine& machine, size_t bytes) {
  LACONIC_ASSIGN_OR_RETURN(void* const at, machine.allocate(bytes));
  DeviceMemory memory;
  memory.machine_ = &machine;
  memory.memory_ = at;
  memory.bytes_ = bytes;
  return memory;
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept {
  *this = std::move(other);
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(machine_, other.machine_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (memory_ != nullptr) {
    machine_->release(memory_);
  }
}

}  // namespace laconic::compress::cuda
