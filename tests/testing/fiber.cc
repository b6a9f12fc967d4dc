#include "tests/testing/fiber.h"

#include <cstdint>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace laconic::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = size_t{256} << 10;  // with red zones around every variable

void start_switch(void** fake_stack, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
void finish_switch(void* fake_stack, const void** stack, size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
}
// Red zones of frames that never returned.
void clean_stack(std::byte* stack) {
  __asan_unpoison_memory_region(stack, kStackBytes);
}
#else
constexpr size_t kStackBytes = size_t{64} << 10;

void start_switch(void** /*fake_stack*/, const void* /*stack*/, size_t /*bytes*/) {}
void finish_switch(void* /*fake_stack*/, const void** /*stack*/, size_t* /*bytes*/) {}
void clean_stack(std::byte* /*stack*/) {}
#endif

}  // namespace

Fiber::Fiber() : stack_(std::make_unique_for_overwrite<std::byte[]>(kStackBytes)) {}

void Fiber::start(std::function<void()> body) {
  body_ = std::move(body);
  finished_ = false;
  own_fake_stack_ = nullptr;
  clean_stack(stack_.get());
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;  // run() switches back by itself.
  // makecontext() passes ints only.
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&own_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self),
              static_cast<unsigned>(uint64_t{self} >> 32));
}

void Fiber::enter(unsigned low, unsigned high) {
  reinterpret_cast<Fiber*>(static_cast<uintptr_t>(uint64_t{high} << 32 | low))->run();
}

void Fiber::run() {
  finish_switch(nullptr, &caller_stack_, &caller_stack_bytes_);
  body_();
  finished_ = true;
  // No fake stack to come back to: this fiber is over.
  start_switch(nullptr, caller_stack_, caller_stack_bytes_);
  swapcontext(&own_, &caller_);
}

void Fiber::resume() {
  start_switch(&caller_fake_stack_, stack_.get(), kStackBytes);
  swapcontext(&caller_, &own_);
  finish_switch(caller_fake_stack_, nullptr, nullptr);
}

void Fiber::pause() {
  start_switch(&own_fake_stack_, caller_stack_, caller_stack_bytes_);
  swapcontext(&own_, &caller_);
  finish_switch(own_fake_stack_, &caller_stack_, &caller_stack_bytes_);
}

}  // namespace laconic::testing
