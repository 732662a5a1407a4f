#ifndef DELTASERVE_TESTS_SUPPORT_FAILING_BACKEND_H_
#define DELTASERVE_TESTS_SUPPORT_FAILING_BACKEND_H_

#include <atomic>
#include <cstdint>

#include "kernels/reference/reference_backend.h"
#include "tests/support/forwarding_backend.h"

namespace deltaserve {

// The reference backend; fails at a wait, and from then on. Thread-safe in that.
class FailingBackend final : public ForwardingBackend {
 public:
  FailingBackend() : ForwardingBackend(MakeReferenceBackend()) {}
  void FailAfter(int waits) { waits_left_ = waits; }

  absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) override {
    if (waits_left_ == 0) return absl::InternalError("it burns");
    if (waits_left_ > 0) --waits_left_;
    return ForwardingBackend::CopyToHost(destination, source, size_bytes);
  }
  absl::Status Synchronize() override {
    return waits_left_ == 0 ? absl::InternalError("it burns") : ForwardingBackend::Synchronize();
  }

 private:
  std::atomic<int> waits_left_ = -1;  // never
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_FAILING_BACKEND_H_
