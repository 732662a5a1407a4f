#ifndef DELTASERVE_TESTS_SUPPORT_FAKE_HEALTH_SERVICE_H_
#define DELTASERVE_TESTS_SUPPORT_FAKE_HEALTH_SERVICE_H_

#include <grpcpp/health_check_service_interface.h>

#include <string>

#include "absl/base/thread_annotations.h"
#include "server/api/mutex.h"

namespace deltaserve {

// Remembers the last status set, of whatever service. Thread-safe.
class FakeHealthService final : public grpc::HealthCheckServiceInterface {
 public:
  void SetServingStatus(const std::string&, bool serving) override { SetServingStatus(serving); }
  void SetServingStatus(bool serving) override {
    MutexLock lock(&mutex_);
    serving_ = serving;
    changed_.NotifyAll();
  }

  // Waits until it is that.
  void Await(bool serving) {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_,
                  [this, serving]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return serving_ == serving; });
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_FAKE_HEALTH_SERVICE_H_
