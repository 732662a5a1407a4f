// Attention of runs of more than one token, on tensor cores: a block takes 64 consecutive tokens of
// a run and one head, and goes through the keys 64 at a time, with the softmax under way in
// registers (FlashAttention-2, Dao 2023). Keys are cut at multiples of 64 from the sequence's
// first, so that a token's numbers do not depend on where its run begins.
#ifndef DELTASERVE_KERNELS_CUDA_PREFILL_ATTENTION_CUH_
#define DELTASERVE_KERNELS_CUDA_PREFILL_ATTENTION_CUH_

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/paged_cache.cuh"

namespace deltaserve::cuda {

inline constexpr int kTileQueries = 64;
inline constexpr int kTileKeys = 64;
inline constexpr int kPrefillThreads = 128;  // a warp for 16 queries

struct PrefillAttentionArgs {
  const float* q;
  BFloat16* y;
  const int32_t* positions;
  const int32_t* query_offsets;
  PagedCache cache;
  int64_t q_stride;
  int64_t y_stride;
  int32_t num_sequences;
  float scale;
};

// Shared memory of a block: a tile of keys and one of values, each row padded by 16 bytes, so that
// eight rows lie in different banks.
__host__ __device__ constexpr int PrefillRowEntries(int head_dim) { return head_dim + 8; }
__host__ __device__ constexpr int PrefillSharedBytes(int head_dim) {
  return 2 * kTileKeys * PrefillRowEntries(head_dim) * 2;
}

struct QueryTile {
  int32_t run;    // -1: there are fewer tiles than blocks
  int32_t first;  // query of the run
};

// The block's tile: those of the first run come first. Runs of one token have none.
__device__ inline QueryTile FindTile(const int32_t* query_offsets, int num_sequences, int block) {
  __shared__ QueryTile tile;
  if (WarpIndex() == 0) {
    QueryTile found = {-1, 0};
    int done = 0;
    for (int base = 0; base < num_sequences && found.run < 0; base += kWarpSize) {
      const int run = base + Lane();
      int length = 0;
      if (run < num_sequences) length = query_offsets[run + 1] - query_offsets[run];
      const int own = length > 1 ? (length + kTileQueries - 1) / kTileQueries : 0;
      int reached = own;
      for (int distance = 1; distance < kWarpSize; distance *= 2) {
        const int other = __shfl_up_sync(kAllLanes, reached, static_cast<unsigned>(distance));
        if (Lane() >= distance) reached += other;
      }
      const unsigned lanes = __ballot_sync(kAllLanes, done + reached > block);
      if (lanes != 0) {
        const int lane = __ffs(static_cast<int>(lanes)) - 1;
        const int before = __shfl_sync(kAllLanes, reached - own, lane);
        found = {base + lane, (block - done - before) * kTileQueries};
      }
      done += __shfl_sync(kAllLanes, reached, kWarpSize - 1);
    }
    if (Lane() == 0) tile = found;
  }
  __syncthreads();
  return tile;
}

// Bytes: T H D (4 + 2), and the keys and values of each tile of 64 queries, mostly from L2. FLOPs:
// 4 T H kv_len D, half of it masked away in whole tiles. Tensor cores decide.
template <int kHeadDim>
__global__ void __launch_bounds__(kPrefillThreads) PrefillAttentionKernel(PrefillAttentionArgs a) {
  constexpr int kSteps = kHeadDim / 16;     // of the inner product
  constexpr int kOutTiles = kHeadDim / 8;   // of the output
  constexpr int kKeyTiles = kTileKeys / 8;  // of the scores
  constexpr int kRow = PrefillRowEntries(kHeadDim);
  constexpr int kVector = 8;  // bf16 in 16 bytes
  const QueryTile tile = FindTile(a.query_offsets, a.num_sequences, static_cast<int>(blockIdx.x));
  if (tile.run < 0) return;  // the whole block

  const int head = static_cast<int>(blockIdx.y);
  const int g = Lane() / 4, p = 2 * (Lane() % 4);
  const int64_t run_begin = a.query_offsets[tile.run];
  const int run_length = static_cast<int>(a.query_offsets[tile.run + 1] - run_begin);
  const int first_position = a.positions[run_begin];
  // Rows g and g + 8 of the warp's sixteen.
  int query[2], position[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    query[r] = tile.first + WarpIndex() * 16 + g + 8 * r;
    position[r] = query[r] < run_length ? first_position + query[r] : -1;
  }

  uint32_t q[kSteps][4];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int r = part % 2, i = step * 16 + p + part / 2 * 8;
      float entries[2] = {0, 0};
      if (position[r] >= 0) {
        Load(a.q + (run_begin + query[r]) * a.q_stride + head * kHeadDim + i, entries);
      }
      q[step][part] = PackBFloat16(entries[0], entries[1]);
    }
  }

  // A lane's sums are of its own columns until the end; the largest scores are of the whole rows.
  constexpr float kLog2E = 1.44269504f;
  const float scale = a.scale * kLog2E;
  float out[kOutTiles][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  BFloat16* keys = reinterpret_cast<BFloat16*>(SharedMemory());
  BFloat16* values = keys + kTileKeys * kRow;
  const int last_query = min(tile.first + kTileQueries, run_length) - 1;
  const int num_keys = first_position + last_query + 1;

  for (int base = 0; base < num_keys; base += kTileKeys) {
    __syncthreads();  // the tile before is in use no more
    for (int n = static_cast<int>(threadIdx.x); n < kTileKeys * (kHeadDim / kVector);
         n += kPrefillThreads) {
      const int key = n / (kHeadDim / kVector), i = n % (kHeadDim / kVector) * kVector;
      uint4 k = {}, v = {};
      if (base + key < num_keys) {
        k = *reinterpret_cast<const uint4*>(
            a.cache.Entry<BFloat16>(kKeys, tile.run, base + key, head) + i);
        v = *reinterpret_cast<const uint4*>(
            a.cache.Entry<BFloat16>(kValues, tile.run, base + key, head) + i);
      }
      *reinterpret_cast<uint4*>(keys + key * kRow + i) = k;
      *reinterpret_cast<uint4*>(values + key * kRow + i) = v;
    }
    __syncthreads();

    float scores[kKeyTiles][4] = {};
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const BFloat16* key = keys + (n * 8 + g) * kRow + step * 16 + p;
        MultiplyAdd(q[step], *reinterpret_cast<const uint32_t*>(key),
                    *reinterpret_cast<const uint32_t*>(key + 8), scores[n]);
      }
    }
    float tile_largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        const int key = base + n * 8 + p + part % 2;
        scores[n][part] = key <= position[part / 2] ? scores[n][part] * scale : -INFINITY;
        tile_largest[part / 2] = fmaxf(tile_largest[part / 2], scores[n][part]);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // The four lanes of a row.
      float highest = fmaxf(tile_largest[r], __shfl_xor_sync(kAllLanes, tile_largest[r], 1));
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
      highest = fmaxf(highest, largest[r]);
      // Rows past the run's end see no key at all.
      const float keep = largest[r] == highest ? 1.0f : exp2f(largest[r] - highest);
      largest[r] = highest;
      sum[r] *= keep;
#pragma unroll
      for (int n = 0; n < kOutTiles; ++n) {
        out[n][2 * r] *= keep;
        out[n][2 * r + 1] *= keep;
      }
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int part = 2 * r; part < 2 * r + 2; ++part) {
          scores[n][part] = highest > -INFINITY ? exp2f(scores[n][part] - highest) : 0.0f;
          sum[r] += scores[n][part];
        }
      }
    }
#pragma unroll
    for (int pair = 0; pair < kKeyTiles / 2; ++pair) {  // 16 keys
      const float(&low)[4] = scores[2 * pair];
      const float(&high)[4] = scores[2 * pair + 1];
      const uint32_t weights[4] = {PackBFloat16(low[0], low[1]), PackBFloat16(low[2], low[3]),
                                   PackBFloat16(high[0], high[1]), PackBFloat16(high[2], high[3])};
      const BFloat16* row = values + (pair * 16 + Lane() % 16) * kRow + Lane() / 16 * 8;
#pragma unroll
      for (int n = 0; n < kOutTiles; n += 2) {
        uint32_t parts[4];  // 16 keys of output tile n, and of the next
        LoadTransposed(row + n * 8, parts);
        MultiplyAdd(weights, parts[0], parts[1], out[n]);
        MultiplyAdd(weights, parts[2], parts[3], out[n + 1]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(kAllLanes, sum[r], 1);
    sum[r] += __shfl_xor_sync(kAllLanes, sum[r], 2);
    if (position[r] < 0) continue;
    BFloat16* y = a.y + (run_begin + query[r]) * a.y_stride + head * kHeadDim + p;
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      const float entries[2] = {out[n][2 * r] / sum[r], out[n][2 * r + 1] / sum[r]};
      Store(entries, y + n * 8);
    }
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_PREFILL_ATTENTION_CUH_
