#ifndef DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_
#define DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/forwarding_backend.h"

namespace deltaserve {

// The reference backend; a step hangs when it is told to. Thread-safe in that.
class HangingBackend final : public ForwardingBackend {
 public:
  HangingBackend() : ForwardingBackend(MakeReferenceBackend()) {}

  // After that many more steps, the next one hangs.
  void HangAfter(int64_t steps) {
    absl::MutexLock lock(&mutex_);
    steps_left_ = steps;
  }
  void Release() {
    absl::MutexLock lock(&mutex_);
    steps_left_.reset();
  }
  // Waits until a step does.
  void AwaitHanging() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&waiting_));
  }

  absl::Status Synchronize() override {
    Wait();
    return ForwardingBackend::Synchronize();
  }

 private:
  void Wait() {
    absl::MutexLock lock(&mutex_);
    if (!steps_left_ || (*steps_left_)-- > 0) return;
    waiting_ = true;
    const auto released = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !steps_left_; };
    mutex_.Await(absl::Condition(&released));
    waiting_ = false;
  }

  absl::Mutex mutex_;
  std::optional<int64_t> steps_left_ ABSL_GUARDED_BY(mutex_);
  bool waiting_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_
