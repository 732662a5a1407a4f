// Attention of a token over the paged cache, for tokens that come one at a time (decode). Runs of
// many tokens may take tensor cores instead (prefill_attention.cuh).
//
// The keys of a token are cut into splits of a fixed size, so that a few sequences occupy the whole
// device. A block computes one split of one head; the last block of a head to finish merges the
// splits in their order. What comes out does not depend on how many blocks there are.
#ifndef DELTASERVE_KERNELS_CUDA_ATTENTION_CUH_
#define DELTASERVE_KERNELS_CUDA_ATTENTION_CUH_

#include "kernels/cuda/paged_cache.cuh"

namespace deltaserve::cuda {

// Keys of a split.
inline constexpr int kSplitKeys = 128;
inline constexpr int kAttentionThreads = 128;

struct AttentionArgs {
  const float* q;
  void* y;
  const int32_t* positions;
  const int32_t* sequence_of;
  const int32_t* query_offsets;
  PagedCache cache;
  // [blocks of tokens and heads, splits, D + 2]: weighted sum, largest score, sum of weights. Not
  // used where there is one split.
  float* partials;
  unsigned* tickets;  // [tokens * heads]: splits that are done; zero before and after
  int64_t q_stride;
  int64_t y_stride;
  int64_t first_token;
  int32_t group_lanes;  // a power of two
  float scale;
  // Not 0: first_token and the blocks count runs, and those of more than one token are left to
  // another kernel.
  int32_t single_tokens_only;
};

// A softmax under way: of the keys seen so far, the largest score, the weights' sum, and the
// values' weighted sum, of which a lane has a part.
template <int kEntries>
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;
  float weighted[kEntries] = {};

  // Takes in what was made of other keys.
  __device__ void Merge(float other_largest, float other_sum, const float (&other)[kEntries]) {
    if (other_sum == 0) return;
    const float together = fmaxf(largest, other_largest);
    const float keep = sum == 0 ? 0.0f : expf(largest - together);
    const float take = expf(other_largest - together);
    sum = sum * keep + other_sum * take;
#pragma unroll
    for (int n = 0; n < kEntries; ++n) weighted[n] = weighted[n] * keep + other[n] * take;
    largest = together;
  }
};

// Lanes of a warp share a key: `group_lanes` of them, N entries each, kChunks times.
//
// Bytes: 2 T H kv_len D element. FLOPs: 4 T H kv_len D. Bandwidth decides.
template <typename T, int N, int kChunks>
__global__ void __launch_bounds__(kAttentionThreads) AttentionKernel(AttentionArgs a) {
  constexpr int kEntries = N * kChunks;
  constexpr int kUnroll = 4;  // keys a group has under way
  const int head_dim = a.cache.head_dim, group_lanes = a.group_lanes;
  const int head = static_cast<int>(blockIdx.y);
  int64_t t = a.first_token + blockIdx.x;
  if (a.single_tokens_only != 0) {
    const int64_t run = t;
    t = a.query_offsets[run];
    if (a.query_offsets[run + 1] != t + 1) return;  // the whole block
  }
  const int32_t sequence = a.sequence_of[t];
  const int num_keys = a.positions[t] + 1;
  const int num_splits = (num_keys + kSplitKeys - 1) / kSplitKeys;
  const int split = static_cast<int>(blockIdx.z);
  if (split >= num_splits) return;  // the whole block

  const int group_lane = Lane() % group_lanes;
  const int groups_per_warp = kWarpSize / group_lanes;
  const int num_groups = NumWarps() * groups_per_warp;
  const int group = WarpIndex() * groups_per_warp + Lane() / group_lanes;
  // Entry n of chunk c of this lane.
  const auto entry = [&](int c) { return (c * group_lanes + group_lane) * N; };

  float q[kEntries] = {};
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    if (entry(c) >= head_dim) continue;
    float values[N];
    Load(a.q + t * a.q_stride + int64_t{head} * head_dim + entry(c), values);
#pragma unroll
    for (int n = 0; n < N; ++n) q[c * N + n] = values[n] * a.scale;
  }

  Softmax<kEntries> softmax;
  const int begin = split * kSplitKeys;
  const int end = num_keys < begin + kSplitKeys ? num_keys : begin + kSplitKeys;
  // All groups go round as often: they shuffle together.
  for (int base = begin; base < end; base += num_groups * kUnroll) {
    float scores[kUnroll];
    float values[kUnroll][kEntries];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int position = base + u * num_groups + group;
      float score = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const bool present = position < end && entry(c) < head_dim;
        float key[N] = {}, value[N] = {};
        if (present) {
          Load(a.cache.Entry<T>(kKeys, sequence, position, head) + entry(c), key);
          Load(a.cache.Entry<T>(kValues, sequence, position, head) + entry(c), value);
        }
#pragma unroll
        for (int n = 0; n < N; ++n) {
          score = fmaf(q[c * N + n], key[n], score);
          values[u][c * N + n] = value[n];
        }
      }
      scores[u] = score;
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      for (int distance = group_lanes / 2; distance > 0; distance /= 2) {
        scores[u] += __shfl_xor_sync(kAllLanes, scores[u], distance);
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (base + u * num_groups + group < end) softmax.Merge(scores[u], 1, values[u]);
    }
  }

  // The groups' sums, merged in their order by the first group.
  float* shared = reinterpret_cast<float*>(SharedMemory());
  const int row = head_dim + 2;
  const auto store = [&](const Softmax<kEntries>& from, float* to) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        if (entry(c) < head_dim) to[entry(c) + n] = from.weighted[c * N + n];
      }
    }
    if (group_lane == 0) {
      to[head_dim] = from.largest;
      to[head_dim + 1] = from.sum;
    }
  };
  const auto merge = [&](const float* from, Softmax<kEntries>& into) {
    float weighted[kEntries] = {};
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        if (entry(c) < head_dim) weighted[c * N + n] = from[entry(c) + n];
      }
    }
    into.Merge(from[head_dim], from[head_dim + 1], weighted);
  };
  store(softmax, shared + group * row);
  __syncthreads();
  if (group == 0) {
    for (int other = 1; other < num_groups; ++other) merge(shared + other * row, softmax);
  }

  if (num_splits > 1) {
    const int64_t place = int64_t{blockIdx.x} * gridDim.y + head;
    float* partials = a.partials + place * gridDim.z * row;
    if (group == 0) store(softmax, partials + int64_t{split} * row);
    __threadfence();
    __shared__ bool is_last;
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = atomicAdd(&a.tickets[place], 1u) + 1 == static_cast<unsigned>(num_splits);
    }
    __syncthreads();
    if (!is_last) return;  // the whole block
    __threadfence();
    if (threadIdx.x == 0) a.tickets[place] = 0;
    softmax = {};
    if (group == 0) {
      for (int other = 0; other < num_splits; ++other) {
        merge(partials + int64_t{other} * row, softmax);
      }
    }
  }
  if (group != 0) return;
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    if (entry(c) >= head_dim) continue;
    float values[N];
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] = softmax.weighted[c * N + n] / softmax.sum;
    Store(values, static_cast<T*>(a.y) + t * a.y_stride + int64_t{head} * head_dim + entry(c));
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_ATTENTION_CUH_
