// Abseil's locks and counts of references as ThreadSanitizer should see them, linked into every
// program that it watches.
//
// Debian's gRPC and Abseil are not built for ThreadSanitizer, and Abseil's locks are its own, not
// those of pthreads. They order what gRPC hands from one thread to another; ThreadSanitizer, which
// sees nothing of it, would report races where there are none. A program's functions come before
// those of its shared libraries, and so these stand before Abseil's, also for gRPC: they call them,
// and say what they order. No race is hidden thereby that a lock or a count does not prevent.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdint>
#include <string>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

// ThreadSanitizer's own.
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

#define DELTASERVE_STRING(x) #x
#define DELTASERVE_EXPANDED_STRING(x) DELTASERVE_STRING(x)
constexpr char kNamespace[] = DELTASERVE_EXPANDED_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME);

// Abseil's own. `name`: what follows the namespaces in the mangled name.
template <typename Function>
Function* Original(const char* name) {
  const std::string mangled =
      "_ZN4absl" + std::to_string(sizeof(kNamespace) - 1) + kNamespace + name;
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, mangled.c_str()));
}

}  // namespace

void Mutex::Lock() {
  static auto* const lock = Original<void(Mutex*)>("5Mutex4LockEv");
  lock(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static auto* const try_lock = Original<bool(Mutex*)>("5Mutex7TryLockEv");
  const bool locked = try_lock(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static auto* const unlock = Original<void(Mutex*)>("5Mutex6UnlockEv");
  __tsan_release(this);
  unlock(this);
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const wait = Original<void(CondVar*, Mutex*)>("7CondVar4WaitEPNS0_5MutexE");
  __tsan_release(mutex);
  wait(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const wait = Original<bool(CondVar*, Mutex*, Duration)>(
      "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  __tsan_release(mutex);
  const bool timed_out = wait(this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const wait =
      Original<bool(CondVar*, Mutex*, Time)>("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  __tsan_release(mutex);
  const bool timed_out = wait(this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

// Copies share a representation, and whoever drops the last of them frees it. Their count is
// compiled into the library, and not seen: nothing is said of who frees.
void Status::UnrefNonInlined(uintptr_t rep) {
  static auto* const unref = Original<void(uintptr_t)>("6Status15UnrefNonInlinedEm");
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  unref(rep);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}

ABSL_NAMESPACE_END
}  // namespace absl
