// A backend that hands everything on to another: for tests that want to count calls or break them.
#ifndef DELTASERVE_TESTS_SUPPORT_FORWARDING_BACKEND_H_
#define DELTASERVE_TESTS_SUPPORT_FORWARDING_BACKEND_H_

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/backend.h"

namespace deltaserve {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view device() const override { return inner_->device(); }
  bool Supports(DType model_dtype) const override { return inner_->Supports(model_dtype); }
  int64_t page_tokens() const override { return inner_->page_tokens(); }
  StepTraits step_traits() const override { return inner_->step_traits(); }
  std::optional<MemoryBudget> memory() const override { return inner_->memory(); }

  absl::StatusOr<Buffer> Allocate(int64_t size_bytes) override {
    return inner_->Allocate(size_bytes);
  }
  void CopyToDevice(void* destination, const void* source, int64_t size_bytes) override {
    inner_->CopyToDevice(destination, source, size_bytes);
  }
  absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) override {
    return inner_->CopyToHost(destination, source, size_bytes);
  }
  absl::Status Synchronize() override { return inner_->Synchronize(); }
  void ReleaseThread() override { inner_->ReleaseThread(); }
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(absl::Span<const HostMatrix> parts,
                                                           DType dtype) override {
    return inner_->PackLinear(parts, dtype);
  }

  void Embed(const EmbedParams& p) override { inner_->Embed(p); }
  void Linear(const LinearParams& p) override { inner_->Linear(p); }
  void Boundary(const BoundaryParams& p) override { inner_->Boundary(p); }
  void TwoLayerGate(const TwoLayerGateParams& p) override { inner_->TwoLayerGate(p); }
  void PrepareAttention(const PrepareAttentionParams& p) override { inner_->PrepareAttention(p); }
  void Attention(const AttentionParams& p) override { inner_->Attention(p); }
  void HeadNormGate(const HeadNormGateParams& p) override { inner_->HeadNormGate(p); }
  void SwiGlu(const SwiGluParams& p) override { inner_->SwiGlu(p); }
  void GatherRows(const GatherRowsParams& p) override { inner_->GatherRows(p); }
  void Sample(const SampleParams& p) override { inner_->Sample(p); }
  void LogProbs(const LogProbsParams& p) override { inner_->LogProbs(p); }
  void CopyRows(const CopyRowsParams& p) override { inner_->CopyRows(p); }

 private:
  const std::unique_ptr<Backend> inner_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_SUPPORT_FORWARDING_BACKEND_H_
