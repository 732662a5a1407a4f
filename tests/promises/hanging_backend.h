#ifndef DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_
#define DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "kernels/reference/reference_backend.h"
#include "server/api/mutex.h"
#include "tests/support/forwarding_backend.h"

namespace deltaserve {

// The reference backend; a step hangs when it is told to. Thread-safe in that.
class HangingBackend final : public ForwardingBackend {
 public:
  HangingBackend() : ForwardingBackend(MakeReferenceBackend()) {}

  // After that many more steps, the next one hangs.
  void HangAfter(int64_t steps) {
    MutexLock lock(&mutex_);
    steps_left_ = steps;
  }
  void Release() {
    MutexLock lock(&mutex_);
    steps_left_.reset();
    changed_.NotifyAll();
  }
  // Waits until a step does.
  void AwaitHanging() {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return waiting_; });
  }

  absl::Status Synchronize() override {
    Wait();
    return ForwardingBackend::Synchronize();
  }

 private:
  void Wait() {
    MutexLock lock(&mutex_);
    if (!steps_left_ || (*steps_left_)-- > 0) return;
    waiting_ = true;
    changed_.NotifyAll();
    changed_.Wait(&mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !steps_left_; });
    waiting_ = false;
  }

  Mutex mutex_;
  CondVar changed_;
  std::optional<int64_t> steps_left_ ABSL_GUARDED_BY(mutex_);
  bool waiting_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_PROMISES_HANGING_BACKEND_H_
