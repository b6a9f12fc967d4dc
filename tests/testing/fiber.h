// A function that can stop in the middle and go on later, on a stack of its own.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace laconic::testing {

// Used by one thread. A fiber that is destroyed before it has finished leaves what is on its stack.
// AddressSanitizer says once that it may not understand swapcontext(); it is told of every switch.
class Fiber {
 public:
  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // From the next resume() on it runs `body`, whatever it did before.
  void start(std::function<void()> body);

  // Runs until the body calls pause() or returns. Not after it has returned.
  void resume();
  // Only from within the body: back to resume().
  void pause();
  bool finished() const { return finished_; }

 private:
  static void enter(unsigned low, unsigned high);
  void run();

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  ucontext_t own_{};
  ucontext_t caller_{};
  // AddressSanitizer must know which stack is in use.
  void* own_fake_stack_ = nullptr;
  void* caller_fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_stack_bytes_ = 0;
  bool finished_ = true;
};

}  // namespace laconic::testing
