// The initial state of a token (FORMAT.md 3.5).
#ifndef DELTASERVE_KERNELS_CUDA_EMBED_CUH_
#define DELTASERVE_KERNELS_CUDA_EMBED_CUH_

#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda {

struct EmbedArgs {
  const int32_t* token_ids;
  const int32_t* last_ids;
  const int32_t* left_tokens;
  const int32_t* sequence_of;
  const int32_t* query_offsets;
  const int32_t* state_slot;
  const void* wte;
  const float* conv;  // absent: repeat
  float* x;
  int64_t wte_stride;
  int32_t d;
  int32_t d_v;
  int32_t num_taps;
  int32_t num_left;
};

// The id at t - back in the sequence of token t; -1 before position 0.
__device__ inline int32_t TokenBefore(const EmbedArgs& a, int64_t t, int64_t back) {
  const int32_t sequence = a.sequence_of[t];
  const int64_t before_run = a.query_offsets[sequence] - (t - back);
  if (before_run > 0)
    return a.left_tokens[sequence * int64_t{a.num_left} + a.num_left - before_run];
  const int32_t id = a.token_ids[t - back];
  return id >= 0 ? id : a.last_ids[a.state_slot[sequence]];
}

// A thread for each feature of a token, all of its channels.
//
// Bytes: T d (4 d_v + K_e element). FLOPs: 2 T K_e d_v d. Bandwidth decides.
template <typename T>
__global__ void EmbedKernel(EmbedArgs a) {
  const int64_t t = blockIdx.x;
  const T* wte = static_cast<const T*>(a.wte);
  const int64_t size = int64_t{a.d_v} * a.d;
  for (int i = static_cast<int>(threadIdx.x); i < a.d; i += static_cast<int>(blockDim.x)) {
    for (int j = 0; j < a.d_v; ++j) {
      float sum = 0;
      for (int tap = 0; tap < a.num_taps; ++tap) {
        const int32_t id = TokenBefore(a, t, a.num_taps - 1 - tap);
        if (id < 0) continue;
        const float embedding = ToFloat(wte[id * a.wte_stride + i]);
        sum =
            a.conv != nullptr ? fmaf(a.conv[tap * size + j * a.d + i], embedding, sum) : embedding;
      }
      a.x[t * size + j * a.d + i] = sum;
    }
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_EMBED_CUH_
