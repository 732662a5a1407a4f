// How a block reads a row of logits: in whole passes, a part of the row each thread.
#ifndef DELTASERVE_KERNELS_CUDA_LOGITS_ROW_CUH_
#define DELTASERVE_KERNELS_CUDA_LOGITS_ROW_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/ops.h"

namespace deltaserve::cuda {

// Two blocks of a processor have a row each, with enough loads under way between them to keep
// memory busy.
inline constexpr int kMaxRowThreads = 512;
inline constexpr int kRowBlocksOfProcessor = 2;

// The order of ids, as an integer: the higher logit is the higher rank (0 and -0 alike), and of
// equal ones the lower id. No two ids of a row rank the same, and none ranks 0.
using Rank = uint64_t;
inline constexpr int kIdBits = 20;
inline constexpr int kRankBits = 32 + kIdBits;
inline constexpr int32_t kMaxId = (1 << kIdBits) - 1;

__device__ inline uint32_t OrderKey(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline float LogitOfKey(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}
__device__ inline Rank RankOf(float logit, int32_t id) {
  return Rank{OrderKey(logit)} << kIdBits | static_cast<Rank>(kMaxId - id);
}
__device__ inline float LogitOfRank(Rank rank) {
  return LogitOfKey(static_cast<uint32_t>(rank >> kIdBits));
}
__device__ inline int32_t IdOfRank(Rank rank) {
  return kMaxId - static_cast<int32_t>(rank & static_cast<Rank>(kMaxId));
}

// The highest rank among the threads of the block, in every thread.
__device__ inline Rank BlockMax(Rank rank) {
  __shared__ Rank of_warp[kMaxBlockThreads / kWarpSize];
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const Rank other = __shfl_xor_sync(kAllLanes, rank, distance);
    if (other > rank) rank = other;
  }
  if (Lane() == 0) of_warp[WarpIndex()] = rank;
  __syncthreads();
  for (int warp = 0; warp < NumWarps(); ++warp) {
    if (of_warp[warp] > rank) rank = of_warp[warp];
  }
  __syncthreads();  // the next call writes of_warp again
  return rank;
}

inline constexpr int kQuad = 4;  // logits of 16 bytes

// A row as it is.
class LogitsRow {
 public:
  __device__ LogitsRow(const float* logits, int32_t vocab)
      : logits_(logits),
        vocab_(vocab),
        aligned_(reinterpret_cast<uintptr_t>(logits) % (kQuad * sizeof(float)) == 0) {}

  __device__ int32_t vocab() const { return vocab_; }
  __device__ float operator[](int32_t id) const { return logits_[id]; }

  // The logits of `begin` and the ids after it, -inf past the end. begin % kQuad == 0.
  __device__ void LoadQuad(int32_t begin, float (&to)[kQuad]) const {
    if (aligned_ && begin + kQuad <= vocab_) {
      Load(logits_ + begin, to);
      return;
    }
#pragma unroll
    for (int n = 0; n < kQuad; ++n) to[n] = begin + n < vocab_ ? logits_[begin + n] : -INFINITY;
  }

  // Calls visit(begin, quad) for this thread's quads in order, which LoadQuad has loaded, kAtOnce
  // at a time.
  template <int kAtOnce, typename Visit>
  __device__ void ForEachQuad(const Visit& visit) const {
    const int32_t step = static_cast<int32_t>(blockDim.x) * kQuad;
    for (int32_t begin = static_cast<int32_t>(threadIdx.x) * kQuad; begin < vocab_;
         begin += kAtOnce * step) {
      float quads[kAtOnce][kQuad];
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) LoadQuad(begin + n * step, quads[n]);
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) {
        if (begin + n * step < vocab_) visit(begin + n * step, quads[n]);
      }
    }
  }

  // Calls visit(id, logit) for this thread's ids.
  template <int kQuadsAtOnce = 2, typename Visit>
  __device__ void ForEach(const Visit& visit) const {
    ForEachQuad<kQuadsAtOnce>([&](int32_t begin, const float(&quad)[kQuad]) {
#pragma unroll
      for (int n = 0; n < kQuad; ++n) {
        if (begin + n < vocab_) visit(begin + n, quad[n]);
      }
    });
  }

 private:
  const float* logits_;
  int32_t vocab_;
  bool aligned_;
};

// A row with the edits of a sampled one. A bit map in shared memory says which ids those are; a
// pass leaves them out where it meets them and takes them from the list of edits in the end.
class EditedRow {
 public:
  static int64_t BitmapBytes(int64_t vocab) { return (vocab + 31) / 32 * 4; }

  // `bitmap`: shared memory. All threads of the block.
  __device__ EditedRow(const LogitsRow& raw, const SamplingRow& row, const LogitEdit* edits,
                       unsigned* bitmap)
      : raw_(raw),
        edits_(edits + row.edits_begin),
        num_edits_(row.edits_end - row.edits_begin),
        repetition_penalty_(row.repetition_penalty),
        frequency_penalty_(row.frequency_penalty),
        presence_penalty_(row.presence_penalty),
        bitmap_(bitmap) {
    if (num_edits_ == 0) return;
    const int32_t threads = static_cast<int32_t>(blockDim.x);
    for (int32_t n = static_cast<int32_t>(threadIdx.x); n * 32 < raw.vocab(); n += threads) {
      bitmap_[n] = 0;
    }
    __syncthreads();
    for (int32_t n = static_cast<int32_t>(threadIdx.x); n < num_edits_; n += threads) {
      atomicOr(&bitmap_[edits_[n].id / 32], 1u << edits_[n].id % 32);
    }
    __syncthreads();
  }

  __device__ int32_t vocab() const { return raw_.vocab(); }
  __device__ const LogitsRow& raw() const { return raw_; }
  __device__ bool IsEdited(int32_t id) const {
    return num_edits_ != 0 && (bitmap_[id / 32] >> id % 32 & 1) != 0;
  }

  // Calls visit(id, logit) for this thread's edited ids.
  template <typename Visit>
  __device__ void ForEachEdited(const Visit& visit) const {
    for (int32_t n = static_cast<int32_t>(threadIdx.x); n < num_edits_;
         n += static_cast<int32_t>(blockDim.x)) {
      const LogitEdit edit = edits_[n];
      visit(edit.id, Edited(raw_[edit.id], edit));
    }
  }
  // The same for all of this thread's ids.
  template <typename Visit>
  __device__ void ForEach(const Visit& visit) const {
    raw_.ForEach([&](int32_t id, float logit) {
      if (!IsEdited(id)) visit(id, logit);
    });
    ForEachEdited(visit);
  }

 private:
  __device__ float Edited(float logit, const LogitEdit& edit) const {
    if (edit.banned != 0) return -INFINITY;
    logit += edit.bias;
    if (edit.seen != 0) {
      logit = logit > 0 ? logit / repetition_penalty_ : logit * repetition_penalty_;
    }
    return logit - (frequency_penalty_ * static_cast<float>(edit.count) +
                    presence_penalty_ * (edit.count > 0 ? 1.0f : 0.0f));
  }

  LogitsRow raw_;
  const LogitEdit* edits_;
  int32_t num_edits_;
  float repetition_penalty_;
  float frequency_penalty_;
  float presence_penalty_;
  unsigned* bitmap_;
};

// Whether a logit is infinite or not a number, for many: the largest magnitude tells.
class FiniteCheck {
 public:
  __device__ void See(float logit) {
    const uint32_t magnitude = __float_as_uint(logit) & 0x7fffffffu;
    if (magnitude > largest_) largest_ = magnitude;
  }
  // Whether all that the threads of the block saw were finite.
  __device__ bool OfBlock() const { return __syncthreads_or(largest_ >= 0x7f800000u) == 0; }

 private:
  uint32_t largest_ = 0;
};

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_LOGITS_ROW_CUH_
