// Log-probabilities of targets, and the highest of a row. A block for each row of logits.
#ifndef DELTASERVE_KERNELS_CUDA_LOG_PROBS_CUH_
#define DELTASERVE_KERNELS_CUDA_LOG_PROBS_CUH_

#include "kernels/cuda/truncation.cuh"

namespace deltaserve::cuda {

// The highest logit, and sum e^(logit - highest), of the quads so far, in one pass: the sum is
// scaled down whenever a higher logit comes (Milakov and Gimelshein, "Online normalizer calculation
// for softmax", 2018).
struct RunningSoftmax {
  float highest = -INFINITY;
  int32_t highest_id = kMaxId;
  double sum = 0;

  __device__ void Add(int32_t begin, const float (&quad)[kQuad]) {
    const float highest_of_quad = fmaxf(fmaxf(quad[0], quad[1]), fmaxf(quad[2], quad[3]));
    if (highest_of_quad > highest) {
      sum *= static_cast<double>(expf(highest - highest_of_quad));
      highest = highest_of_quad;
#pragma unroll
      for (int n = kQuad - 1; n >= 0; --n) {
        if (quad[n] == highest) highest_id = begin + n;
      }
    }
    sum += static_cast<double>((expf(quad[0] - highest) + expf(quad[1] - highest)) +
                               (expf(quad[2] - highest) + expf(quad[3] - highest)));
  }
};

struct LogProbsArgs {
  const float* logits;
  const int32_t* target_offsets;
  const int32_t* target_ids;
  const int32_t* sampled_ids;
  float* target_logprobs;
  int32_t* target_is_greedy;
  int32_t* top_ids;
  float* top_logprobs;
  int64_t logits_stride;
  int64_t top_ids_stride;
  int64_t top_logprobs_stride;
  int32_t vocab;
  int32_t top_k;  // at most kMaxListed
};

// Dynamic shared memory: TruncationScratch where top_k > 0.
//
// Bytes: 4 R V, once over the row, at memory speed; three times with top_k, from L2 where the
// logits fit it. FLOPs: about 15 R V, a quarter of an operation of them in fp64.
__global__ void __launch_bounds__(kMaxRowThreads, kRowBlocksOfProcessor)
    LogProbsKernel(LogProbsArgs a) {
  const int64_t r = blockIdx.x;
  const int32_t begin = a.target_offsets[r] - a.target_offsets[0];
  const int32_t end = a.target_offsets[r + 1] - a.target_offsets[0];
  if (begin == end && a.top_k == 0) return;  // the whole block

  const LogitsRow logits(a.logits + r * a.logits_stride, a.vocab);
  FiniteCheck check;
  RunningSoftmax own;
  logits.ForEachQuad<4>([&](int32_t quad_begin, const float(&quad)[kQuad]) {
#pragma unroll
    for (int n = 0; n < kQuad; ++n) {
      if (quad_begin + n < a.vocab) check.See(quad[n]);
    }
    own.Add(quad_begin, quad);
  });
  const bool finite = check.OfBlock();
  const Rank best = BlockMax(RankOf(own.highest, own.highest_id));
  const float highest = LogitOfRank(best);
  double sum[1] = {own.sum * exp(static_cast<double>(own.highest) - highest)};
  BlockSum(sum);
  const double log_sum = log(sum[0]);
  const auto log_prob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - highest - log_sum);
  };

  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int32_t n = begin + thread; n < end; n += threads) {
    int32_t id = a.target_ids[n];
    if (id < 0) id = a.sampled_ids[-1 - id];
    const bool known = finite && id >= 0;  // a sampled id can be -1
    a.target_logprobs[n] = known ? log_prob(logits[id]) : NAN;
    a.target_is_greedy[n] = known && id == IdOfRank(best) ? 1 : 0;
  }
  if (a.top_k == 0) return;
  TruncationScratch& scratch = *reinterpret_cast<TruncationScratch*>(SharedMemory());
  Survivors top;
  if (finite) KeepTopK(logits, highest, a.top_k, scratch, top);
  for (int n = thread; n < a.top_k; n += threads) {
    const bool known = n < top.num_listed;
    a.top_ids[r * a.top_ids_stride + n] = known ? IdOfRank(scratch.list[n]) : -1;
    a.top_logprobs[r * a.top_logprobs_stride + n] =
        known ? log_prob(LogitOfRank(scratch.list[n])) : NAN;
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_LOG_PROBS_CUH_
