#ifndef DELTASERVE_SERVER_API_MUTEX_H_
#define DELTASERVE_SERVER_API_MUTEX_H_

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace deltaserve {

// std::mutex under the annotations that Clang's thread safety analysis checks.
//
// Not absl::Mutex: that one is its own implementation, and where Abseil is a system library, which
// nobody built for ThreadSanitizer, its locks order nothing in ThreadSanitizer's eyes. It sees
// those of pthreads, which these are.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;

  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }

  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Notify after every change that may make a waiter's predicate true, under the mutex.
class CondVar {
 public:
  // Waits until `holds()`, which is asked under `mutex` and must not throw.
  template <typename Predicate>
  void Wait(Mutex* mutex, Predicate holds) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock lock(mutex->mutex_, std::adopt_lock);
    condition_.wait(lock, std::move(holds));
    lock.release();
  }

  // The same, but not for longer than `limit`. Returns `holds()`.
  template <typename Predicate>
  bool WaitFor(Mutex* mutex, absl::Duration limit, Predicate holds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    constexpr absl::Duration kForever = absl::Hours(24 * 365 * 100);  // the clock has an end
    std::unique_lock lock(mutex->mutex_, std::adopt_lock);
    const bool held = condition_.wait_for(
        lock, absl::ToChronoNanoseconds(std::min(limit, kForever)), std::move(holds));
    lock.release();
    return held;
  }

  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_MUTEX_H_
