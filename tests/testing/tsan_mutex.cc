// Tells ThreadSanitizer about absl::Mutex and absl::Notification. The distribution's
// libabsl_synchronization is not instrumented, so without this every access under such a lock, ours
// or gRPC's, is reported as a race. The functions below take the place of the library's in every
// program that links them, call the real ones, and add the edges: a lock happens after the unlocks
// before it.
//
// Conditions of Await() are evaluated by whichever thread unlocks, inside the real functions and so
// outside the edges, though under the lock: nothing is checked there.
#if defined(__SANITIZE_THREAD__)

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

// Exported by the sanitizer's run time, declared in none of its headers.
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace {

// The library's function of this mangled name.
template <typename Function>
Function real(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "tsan_mutex: no %s; is this another version of Abseil?\n", name);
    std::abort();
  }
  return reinterpret_cast<Function>(found);
}

// For the time of a call into the library.
class Unchecked {
 public:
  Unchecked() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unchecked() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unchecked(const Unchecked&) = delete;
  Unchecked& operator=(const Unchecked&) = delete;
};

// Calls the library's function, with nothing in it checked.
template <typename Function, typename... Arguments>
auto unchecked(Function function, Arguments&&... arguments) {
  const Unchecked scope;
  return function(std::forward<Arguments>(arguments)...);
}

using Plain = void (*)(absl::Mutex*);
using Try = bool (*)(absl::Mutex*);
using When = void (*)(absl::Mutex*, const absl::Condition&);
using WhenUntil = bool (*)(absl::Mutex*, const absl::Condition&, absl::Time);
using WhenFor = bool (*)(absl::Mutex*, const absl::Condition&, absl::Duration);

}  // namespace

// The name of absl's inline namespace is Debian's.
#define LACONIC_MUTEX(rest) "_ZN4absl7debian35Mutex" rest
#define LACONIC_CONDVAR(rest) "_ZN4absl7debian37CondVar" rest

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const Plain next = real<Plain>(LACONIC_MUTEX("4LockEv"));
  unchecked(next, this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static const Plain next = real<Plain>(LACONIC_MUTEX("6UnlockEv"));
  __tsan_release(this);
  unchecked(next, this);
}

bool Mutex::TryLock() {
  static const Try next = real<Try>(LACONIC_MUTEX("7TryLockEv"));
  const bool locked = unchecked(next, this);
  if (locked) {
    __tsan_acquire(this);
  }
  return locked;
}

void Mutex::ReaderLock() {
  static const Plain next = real<Plain>(LACONIC_MUTEX("10ReaderLockEv"));
  unchecked(next, this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static const Plain next = real<Plain>(LACONIC_MUTEX("12ReaderUnlockEv"));
  __tsan_release(this);
  unchecked(next, this);
}

void Mutex::Await(const Condition& condition) {
  static const When next = real<When>(LACONIC_MUTEX("5AwaitERKNS0_9ConditionE"));
  __tsan_release(this);
  unchecked(next, this, condition);
  __tsan_acquire(this);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static const WhenUntil next =
      real<WhenUntil>(LACONIC_MUTEX("17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  __tsan_release(this);
  const bool met = unchecked(next, this, condition, deadline);
  __tsan_acquire(this);
  return met;
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static const WhenFor next =
      real<WhenFor>(LACONIC_MUTEX("16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  __tsan_release(this);
  const bool met = unchecked(next, this, condition, timeout);
  __tsan_acquire(this);
  return met;
}

void Mutex::LockWhen(const Condition& condition) {
  static const When next = real<When>(LACONIC_MUTEX("8LockWhenERKNS0_9ConditionE"));
  __tsan_release(this);
  unchecked(next, this, condition);
  __tsan_acquire(this);
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static const WhenUntil next =
      real<WhenUntil>(LACONIC_MUTEX("20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  __tsan_release(this);
  const bool met = unchecked(next, this, condition, deadline);
  __tsan_acquire(this);
  return met;
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  static const WhenFor next =
      real<WhenFor>(LACONIC_MUTEX("19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  __tsan_release(this);
  const bool met = unchecked(next, this, condition, timeout);
  __tsan_acquire(this);
  return met;
}

void CondVar::Wait(Mutex* mutex) {
  static const auto next = real<void (*)(CondVar*, Mutex*)>(LACONIC_CONDVAR("4WaitEPNS0_5MutexE"));
  __tsan_release(mutex);
  unchecked(next, this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static const auto next = real<bool (*)(CondVar*, Mutex*, Time)>(
      LACONIC_CONDVAR("16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  __tsan_release(mutex);
  const bool timed_out = unchecked(next, this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static const auto next = real<bool (*)(CondVar*, Mutex*, Duration)>(
      LACONIC_CONDVAR("15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  __tsan_release(mutex);
  const bool timed_out = unchecked(next, this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

void Notification::Notify() {
  static const auto next = real<void (*)(Notification*)>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  unchecked(next, this);
}

void Notification::WaitForNotification() const {
  static const auto next =
      real<void (*)(const Notification*)>("_ZNK4absl7debian312Notification19WaitForNotificationEv");
  unchecked(next, this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static const auto next = real<bool (*)(const Notification*, Duration)>(
      "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = unchecked(next, this, timeout);
  __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static const auto next = real<bool (*)(const Notification*, Time)>(
      "_ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_4TimeE");
  const bool notified = unchecked(next, this, deadline);
  __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl

#endif  // __SANITIZE_THREAD__
