// FORMAT.md 3.2 steps 2-4: activations, RoPE, QK-norm, and keys and values into the paged cache.
#ifndef DELTASERVE_KERNELS_CUDA_PREPARE_ATTENTION_CUH_
#define DELTASERVE_KERNELS_CUDA_PREPARE_ATTENTION_CUH_

#include "kernels/cuda/paged_cache.cuh"
#include "kernels/ops.h"

namespace deltaserve::cuda {

struct PrepareAttentionArgs {
  float* q;  // in and out
  const float* k;
  const float* v;
  const float* rope_cos;  // absent: no rotation
  const float* rope_sin;
  const float* q_norm;  // absent: no norm
  const float* k_norm;
  const int32_t* positions;
  const int32_t* sequence_of;
  PagedCache cache;
  int64_t q_stride;
  int64_t k_stride;
  int64_t v_stride;
  int64_t num_tokens;
  int32_t half_rotated;  // r/2
  float norm_eps;
  Activation q_activation;
  Activation k_activation;
  Activation v_activation;
};

__device__ inline float Activate(Activation activation, float z) {
  switch (activation) {
    case Activation::kIdentity:
      return z;
    case Activation::kSilu:
      return Silu(z);
    case Activation::kRelu:
      return fmaxf(z, 0.0f);
    case Activation::kEluPlusOne:
      return z > 0 ? z + 1 : expf(z);
  }
  return z;
}

// Activation, rotation and norm of one head into `head`, shared memory of the warp. Returns the
// root that the normalised entries are still to be divided by.
__device__ inline float PrepareHead(const PrepareAttentionArgs& a, const float* in,
                                    Activation activation, const float* norm, int64_t position,
                                    float* head) {
  const int head_dim = a.cache.head_dim;
  for (int i = Lane(); i < head_dim; i += kWarpSize) head[i] = Activate(activation, in[i]);
  __syncwarp();
  if (a.rope_cos != nullptr) {
    const int half = a.half_rotated;
    for (int n = Lane(); n < half; n += kWarpSize) {
      const float cosine = a.rope_cos[position * half + n], sine = a.rope_sin[position * half + n];
      const float x = head[n], y = head[n + half];
      head[n] = x * cosine - y * sine;
      head[n + half] = x * sine + y * cosine;
    }
    __syncwarp();
  }
  if (norm == nullptr) return 1;
  float sum = 0;
  for (int i = Lane(); i < head_dim; i += kWarpSize) sum = fmaf(head[i], head[i], sum);
  return sqrtf(WarpSum(sum) / static_cast<float>(head_dim) + a.norm_eps);
}

// A warp for each head of a token.
//
// Bytes: T H D (16 + 2 element). FLOPs: about 30 T H D. Bandwidth decides.
template <typename T>
__global__ void PrepareAttentionKernel(PrepareAttentionArgs a) {
  const int num_heads = a.cache.num_heads, head_dim = a.cache.head_dim;
  const int64_t row = int64_t{blockIdx.x} * NumWarps() + WarpIndex();
  if (row >= a.num_tokens * num_heads) return;  // the whole warp
  const int64_t t = row / num_heads;
  const int head = static_cast<int>(row % num_heads);
  const int64_t position = a.positions[t];
  float* shared = reinterpret_cast<float*>(SharedMemory()) + WarpIndex() * 2 * head_dim;

  float* q = a.q + t * a.q_stride + int64_t{head} * head_dim;
  const float* k = a.k + t * a.k_stride + int64_t{head} * head_dim;
  const float* v = a.v + t * a.v_stride + int64_t{head} * head_dim;
  const float q_root = PrepareHead(a, q, a.q_activation, a.q_norm, position, shared);
  const float k_root = PrepareHead(a, k, a.k_activation, a.k_norm, position, shared + head_dim);

  const int32_t sequence = a.sequence_of[t];
  T* key = a.cache.Entry<T>(kKeys, sequence, position, head);
  T* value = a.cache.Entry<T>(kValues, sequence, position, head);
  for (int i = Lane(); i < head_dim; i += kWarpSize) {
    const float query_entry = shared[i], key_entry = shared[head_dim + i];
    q[i] = a.q_norm != nullptr ? a.q_norm[i] * query_entry / q_root : query_entry;
    key[i] = FromFloat<T>(a.k_norm != nullptr ? a.k_norm[i] * key_entry / k_root : key_entry);
    value[i] = FromFloat<T>(Activate(a.v_activation, v[i]));
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_PREPARE_ATTENTION_CUH_
