#ifndef DELTASERVE_TESTS_SUPPORT_DEVICE_LIKE_BACKEND_H_
#define DELTASERVE_TESTS_SUPPORT_DEVICE_LIKE_BACKEND_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/forwarding_backend.h"

namespace deltaserve {

// The reference backend with the traits of a GPU: it wants steps to recur and rows to be padded,
// and has so much memory and no more. Thread-safe in what it adds.
class DeviceLikeBackend final : public ForwardingBackend {
 public:
  explicit DeviceLikeBackend(int64_t memory_bytes, std::string name = "device:0")
      : ForwardingBackend(MakeReferenceBackend()), name_(std::move(name)), total_(memory_bytes) {}

  std::string_view device() const override { return name_; }
  StepTraits step_traits() const override {
    return {.recurring_shapes = true, .row_alignment = 64, .logit_rows = 5};
  }
  std::optional<MemoryBudget> memory() const override {
    return MemoryBudget{.free = total_ - used_, .total = total_};
  }
  int64_t num_allocations() const { return num_allocations_; }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    ++num_allocations_;
    if (used_ + size_bytes > total_) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name_, ": cannot allocate ", size_bytes, " bytes"));
    }
    absl::StatusOr<Buffer> inner = ForwardingBackend::Allocate(size_bytes);
    if (!inner.ok()) return inner;
    used_ += size_bytes;
    const auto kept = std::make_shared<Buffer>(*std::move(inner));
    return Buffer(kept->data(), size_bytes, [this, kept](void*) { used_ -= kept->size_bytes(); });
  }

  // Multiplies what lies between the rows, as a product of padded matrices does.
  void Linear(const LinearParams& p) override {
    if (p.zero_padded) {
      const int64_t padding = p.x.row_stride - p.x.dim(1);
      for (int64_t row = 0; row < p.x.dim(0); ++row) {
        const float* between = p.x.Row<float>(row) + p.x.dim(1);
        padding_is_zero_ = padding_is_zero_ &&
                           std::all_of(between, between + padding, [](float x) { return x == 0; });
      }
      has_padding_ = has_padding_ || padding > 0;
    }
    ForwardingBackend::Linear(p);
  }
  bool has_padding() const { return has_padding_; }
  bool padding_is_zero() const { return padding_is_zero_; }

 private:
  const std::string name_;
  const int64_t total_;
  std::atomic<int64_t> used_ = 0;
  std::atomic<int64_t> num_allocations_ = 0;
  std::atomic<bool> has_padding_ = false;
  std::atomic<bool> padding_is_zero_ = true;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_DEVICE_LIKE_BACKEND_H_
