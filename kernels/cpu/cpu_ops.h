// The ops of the CPU backend but for the matrix products: each as kernels/ops.h states it, shared
// among the workers when it is large enough to pay. They throw std::bad_alloc only.
#ifndef DELTASERVE_KERNELS_CPU_CPU_OPS_H_
#define DELTASERVE_KERNELS_CPU_CPU_OPS_H_

#include "kernels/cpu/workers.h"
#include "kernels/ops.h"

namespace deltaserve::cpu {

// One head's page of keys is [D, kPageTokens], so that the scores of a page are vectors; one head's
// page of values is [kPageTokens, D].
inline constexpr int64_t kPageTokens = 16;

// d_v up to which Boundary is compiled.
inline constexpr int64_t kMaxValueChannels = 8;

void Embed(const EmbedParams& p, Workers& workers);
void Boundary(const BoundaryParams& p, Workers& workers);
void TwoLayerGate(const TwoLayerGateParams& p, Workers& workers);
void PrepareAttention(const PrepareAttentionParams& p, Workers& workers);
void Attention(const AttentionParams& p, Workers& workers);
void HeadNormGate(const HeadNormGateParams& p, Workers& workers);
void SwiGlu(const SwiGluParams& p, Workers& workers);
void GatherRows(const GatherRowsParams& p, Workers& workers);
void Sample(const SampleParams& p, Workers& workers);
void LogProbs(const LogProbsParams& p, Workers& workers);
void CopyRows(const CopyRowsParams& p, Workers& workers);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_CPU_OPS_H_
