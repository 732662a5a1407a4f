// Compute on one device. A backend knows tensors; of models, sequences and requests it knows
// nothing.
#ifndef DELTASERVE_KERNELS_BACKEND_H_
#define DELTASERVE_KERNELS_BACKEND_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

namespace deltaserve {

// A weight matrix in host memory, row-major [out, in], kF32 or kBF16.
struct HostMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t out = 0;
  int64_t in = 0;
};

// How a device likes its steps. It computes any other as well; these cost it the least.
struct StepTraits {
  // A step whose operands come again, in the same places and shapes, costs it far less. So a step
  // of single tokens is padded up to a few sizes (server/engine/step_shape.h).
  bool recurring_shapes = false;
  // Rows of activations whose width this many elements do not divide are kept that far apart, with
  // zeros between them (LinearParams::zero_padded).
  int64_t row_alignment = 1;
  // Rows of logits to make at a time.
  int64_t logit_rows = 64;
};

// What Allocate and PackLinear hand out, in bytes.
struct MemoryBudget {
  int64_t free = 0;   // still
  int64_t total = 0;  // in all
};

// Ops are ordered as called and may run later; what they wrote is there after Synchronize(). They
// report nothing themselves: the first fault since the last call comes out of Synchronize(), and a
// backend that has failed stays failed. Arguments are the caller's to get right (shapes are
// asserted in debug builds only). One thread at a time uses a backend, except for Allocate and
// PackLinear, which any number may call at once; one that hands it on calls ReleaseThread.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view device() const = 0;  // "cpu", "reference", "cuda:0"
  virtual bool Supports(DType model_dtype) const = 0;
  // Tokens in one page of the key-value cache.
  virtual int64_t page_tokens() const = 0;
  virtual StepTraits step_traits() const { return {}; }
  // Absent: it is the host's, which others use as well.
  virtual std::optional<MemoryBudget> memory() const { return std::nullopt; }

  // Zeroed, aligned to 64 bytes at least. RESOURCE_EXHAUSTED names the size.
  virtual absl::StatusOr<Buffer> Allocate(int64_t size_bytes) = 0;
  // Both take dense memory. CopyToHost waits for the ops before it; `source` may be reused when
  // CopyToDevice returns.
  virtual void CopyToDevice(void* destination, const void* source, int64_t size_bytes) = 0;
  virtual absl::Status CopyToHost(void* destination, const void* source, int64_t size_bytes) = 0;
  virtual absl::Status Synchronize() = 0;
  // What is kept for the calling thread, such as worker threads that wait for it alone, may go.
  virtual void ReleaseThread() {}

  // The parts, all with the same `in`, stacked along `out`, held as `dtype` for inputs of `dtype`.
  virtual absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const HostMatrix> parts, DType dtype) = 0;

  virtual void Embed(const EmbedParams&) = 0;
  virtual void Linear(const LinearParams&) = 0;
  virtual void Boundary(const BoundaryParams&) = 0;
  virtual void TwoLayerGate(const TwoLayerGateParams&) = 0;
  virtual void PrepareAttention(const PrepareAttentionParams&) = 0;
  virtual void Attention(const AttentionParams&) = 0;
  virtual void HeadNormGate(const HeadNormGateParams&) = 0;
  virtual void SwiGlu(const SwiGluParams&) = 0;
  virtual void GatherRows(const GatherRowsParams&) = 0;
  virtual void Sample(const SampleParams&) = 0;
  virtual void LogProbs(const LogProbsParams&) = 0;
  virtual void CopyRows(const CopyRowsParams&) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_BACKEND_H_
