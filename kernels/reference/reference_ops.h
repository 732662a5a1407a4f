// The reference ops as plain functions; operands as kernels/ops.h states them, model dtype kF32.
#ifndef DELTASERVE_KERNELS_REFERENCE_REFERENCE_OPS_H_
#define DELTASERVE_KERNELS_REFERENCE_REFERENCE_OPS_H_

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/ops.h"

namespace deltaserve::reference {

// Row-major [out, in], as it came.
class ReferenceLinear : public PackedLinear {
 public:
  ReferenceLinear(std::vector<float> weight, int64_t out, int64_t in)
      : weight_(std::move(weight)), out_(out), in_(in) {}

  int64_t in_features() const override { return in_; }
  int64_t out_features() const override { return out_; }
  int64_t size_bytes() const override {
    return static_cast<int64_t>(weight_.size() * sizeof(float));
  }
  const float* row(int64_t out) const { return weight_.data() + out * in_; }

 private:
  std::vector<float> weight_;
  int64_t out_;
  int64_t in_;
};

inline constexpr int64_t kPageTokens = 16;

inline float Sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }
inline float Silu(float z) { return z * Sigmoid(z); }
float Dot(const float* a, const float* b, int64_t n);
// FORMAT.md 3.1; `out` may be `x`.
void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out);

void Linear(const LinearParams& p);
void SwiGlu(const SwiGluParams& p);
void GatherRows(const GatherRowsParams& p);
void CopyRows(const CopyRowsParams& p);

void Embed(const EmbedParams& p);
void Boundary(const BoundaryParams& p);
void TwoLayerGate(const TwoLayerGateParams& p);

void PrepareAttention(const PrepareAttentionParams& p);
void Attention(const AttentionParams& p);
void HeadNormGate(const HeadNormGateParams& p);

void Sample(const SampleParams& p);
void LogProbs(const LogProbsParams& p);

}  // namespace deltaserve::reference

#endif  // DELTASERVE_KERNELS_REFERENCE_REFERENCE_OPS_H_
