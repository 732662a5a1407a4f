// The ops as plain functions: operands as kernels/ops.h states them, of this device's memory. Each
// notes its commands on the device's stream.
#ifndef DELTASERVE_KERNELS_CUDA_CUDA_OPS_H_
#define DELTASERVE_KERNELS_CUDA_CUDA_OPS_H_

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/ops.h"

namespace deltaserve::cuda {

// Tokens in a page of keys and values: a head's is then 4 KB for a head size of 128 in bf16.
inline constexpr int kPageTokens = 16;

// What ops need besides their operands. Memory is of the device.
struct OpContext {
  Stream& stream;
  // Between the commands of one op. 16-byte aligned.
  char* scratch = nullptr;
  int64_t scratch_bytes = 0;
  // [kNumTickets] zeros before each command and after it.
  unsigned* tickets = nullptr;
  // Attention of runs of more than one token takes tensor cores where the dtype allows it.
  bool use_tensor_cores = false;
};
inline constexpr int64_t kNumTickets = 1 << 16;

void Embed(const EmbedParams& p, OpContext& context);
void Boundary(const BoundaryParams& p, OpContext& context);
void TwoLayerGate(const TwoLayerGateParams& p, OpContext& context);
void PrepareAttention(const PrepareAttentionParams& p, OpContext& context);
void Attention(const AttentionParams& p, OpContext& context);
void HeadNormGate(const HeadNormGateParams& p, OpContext& context);
void SwiGlu(const SwiGluParams& p, OpContext& context);
void GatherRows(const GatherRowsParams& p, OpContext& context);
void CopyRows(const CopyRowsParams& p, OpContext& context);
// to[r] = x[r], then zeros: kF32 or kBF16 [M, in] and [M, width], width >= in.
void PadRows(const TensorView& x, const TensorView& to, OpContext& context);
void Sample(const SampleParams& p, OpContext& context);
void LogProbs(const LogProbsParams& p, OpContext& context);

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_CUDA_OPS_H_
