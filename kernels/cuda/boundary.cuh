// One boundary between two sublayers, in one pass over the state (kernels/ops.h, BoundaryParams).
//
// With h the finished sublayer's output, g the next norm's weight and n = sqrt(|h|^2 + k_eps^2):
//   sums A: |h|^2, h . X_j.  p_j = h . X_j / n, X_j += beta (v_j - p_j) / n * h
//   x_in from registers; over time, from running sums in shared memory
//   sums B: |x_in|^2, x_in . (g w_beta), x_in . W_v,j.  r = 1 / sqrt(|x_in|^2 / d + norm_eps),
//   c = r g x_in, beta' = 2 sigmoid(r x_in . (g w_beta) + b_beta), v'_j of x_in . W_v,j + b_v,j
//
// A block holds one token's state in registers; a thread has the same features of all its planes.
//
// Bytes, for a token: 4 d (2 d_v + 1) + element * d, and the weights (K d_v + d_v + 2) 4 d from the
// caches. FLOPs: about d (2 + 4 d_v + 2 K d_v + 2 d_v + 8). Bandwidth decides.
#ifndef DELTASERVE_KERNELS_CUDA_BOUNDARY_CUH_
#define DELTASERVE_KERNELS_CUDA_BOUNDARY_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/ops.h"

namespace deltaserve::cuda {

struct BoundaryArgs {
  const float* src;
  float* dst;
  const float* h;
  const float* write_beta;
  const float* write_v;
  float* proj;
  const float* read_weight;
  float* tails;
  float* x_in;
  const float* norm_weight;
  void* c;
  const float* beta_weight;
  float* beta;
  const float* v_weight;
  const float* v_bias;
  float* v;
  const int32_t* positions;
  const int32_t* sequence_of;
  const int32_t* query_offsets;
  const int32_t* state_slot;
  int64_t tails_stride;  // between slots, in floats
  int64_t num_tokens;
  int32_t d;
  int32_t d_v;
  int32_t num_taps;  // of a read over time; else 0
  // Tokens of a block. 0: a whole run.
  int32_t block_tokens;
  float k_eps;
  float norm_eps;
  float beta_bias;
  float v_scale;
  float v_constant;
  BoundaryParams::Write write;
  BoundaryParams::Read read;
  BoundaryParams::Target target;
  bool c_is_bf16;
};

// A thread's features are those at Feature(slab) + n, for each of kSlabs slabs and n < N.
template <int kMaxChannels, int N, int kSlabs>
class BoundaryThread {
 public:
  __device__ explicit BoundaryThread(const BoundaryArgs& a) : a_(a) {}

  // Loads the state of token t and writes the sublayer's result into it. `owned`: the block keeps
  // what it has computed; else it only wants to know.
  __device__ void Write(int64_t t, bool owned) {
    const int64_t row = t * a_.d_v * a_.d;
    ForFeatures([&](int slab, int i) {
#pragma unroll
      for (int j = 0; j < kMaxChannels; ++j) {
        if (j < a_.d_v) Load(a_.src + row + j * a_.d + i, x_[j][slab]);
      }
      if (a_.write != BoundaryParams::Write::kNone) Load(a_.h + t * a_.d + i, h_[slab]);
    });
    if (a_.write == BoundaryParams::Write::kAdd) {
      ForEntries([&](int slab, int n) { x_[0][slab][n] += h_[slab][n]; });
    } else if (a_.write == BoundaryParams::Write::kDelta) {
      WriteDelta(t, owned);
    }
    if (!owned || a_.dst == nullptr) return;
    if (a_.write == BoundaryParams::Write::kNone && a_.dst == a_.src) return;
    ForFeatures([&](int slab, int i) {
#pragma unroll
      for (int j = 0; j < kMaxChannels; ++j) {
        if (j < a_.d_v) Store(x_[j][slab], a_.dst + row + j * a_.d + i);
      }
    });
  }

  // x_in of the loaded token; where the read goes over time, the running sums move on by a token.
  __device__ void Read() {
    switch (a_.read) {
      case BoundaryParams::Read::kIdentity:
        ForEntries([&](int slab, int n) { in_[slab][n] = x_[0][slab][n]; });
        break;
      case BoundaryParams::Read::kChannels:
        ForFeatures([&](int slab, int i) { Weigh(a_.read_weight, slab, i, in_[slab]); });
        break;
      case BoundaryParams::Read::kTime:
        ForFeatures([&](int slab, int i) { ReadTime(slab, i); });
        break;
    }
  }

  // Norm, gate and target of the token whose x_in was read.
  __device__ void Finish(int64_t t) {
    float sums[2 + kMaxChannels] = {};
    const bool has_projection = a_.target == BoundaryParams::Target::kSigmoid ||
                                a_.target == BoundaryParams::Target::kLinear;
    float g[kSlabs][N] = {};
    ForFeatures([&](int slab, int i) {
      if (a_.x_in != nullptr) Store(in_[slab], a_.x_in + t * a_.d + i);
      Load(a_.norm_weight + i, g[slab]);
      AddProduct(in_[slab], in_[slab], sums[0]);
      float weight[N];
      if (a_.beta_weight != nullptr) {
        Load(a_.beta_weight + i, weight);
#pragma unroll
        for (int n = 0; n < N; ++n) weight[n] *= g[slab][n];
        AddProduct(in_[slab], weight, sums[1]);
      }
#pragma unroll
      for (int j = 0; j < kMaxChannels; ++j) {
        if (j < a_.d_v && has_projection) {
          Load(a_.v_weight + int64_t{j} * a_.d + i, weight);
          AddProduct(in_[slab], weight, sums[2 + j]);
        }
      }
    });
    BlockSum(sums);
    const float r = 1.0f / sqrtf(sums[0] / static_cast<float>(a_.d) + a_.norm_eps);
    ForFeatures([&](int slab, int i) {
      float c[N];
#pragma unroll
      for (int n = 0; n < N; ++n) c[n] = g[slab][n] * (in_[slab][n] * r);
      if (a_.c_is_bf16) {
        Store(c, static_cast<BFloat16*>(a_.c) + t * a_.d + i);
      } else {
        Store(c, static_cast<float*>(a_.c) + t * a_.d + i);
      }
    });
    if (threadIdx.x != 0) return;
    if (a_.beta_weight != nullptr) a_.beta[t] = 2 * Sigmoid(r * sums[1] + a_.beta_bias);
    if (a_.target == BoundaryParams::Target::kNone) return;
#pragma unroll
    for (int j = 0; j < kMaxChannels; ++j) {
      if (j >= a_.d_v) continue;
      float value = a_.v_constant;
      if (has_projection) value = sums[2 + j] + a_.v_bias[j];
      if (a_.target == BoundaryParams::Target::kSigmoid) value = a_.v_scale * Sigmoid(value);
      a_.v[t * a_.d_v + j] = value;
    }
  }

  // The running sums of a run, from its slot or, without one, zeros; and back into the slot.
  __device__ void LoadTail(const float* tail) {
    ForFeatures([&](int, int i) {
      for (int row = 0; row + 1 < a_.num_taps; ++row) {
        float values[N] = {};
        if (tail != nullptr) Load(tail + int64_t{row} * a_.d + i, values);
        Store(values, RunningSums(row, i));
      }
    });
  }
  __device__ void StoreTail(float* tail) {
    ForFeatures([&](int, int i) {
      for (int row = 0; row + 1 < a_.num_taps; ++row) {
        float values[N];
        Load(RunningSums(row, i), values);
        Store(values, tail + int64_t{row} * a_.d + i);
      }
    });
  }

 private:
  template <typename Function>
  __device__ void ForFeatures(const Function& function) {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      const int i = (slab * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * N;
      if (i < a_.d) function(slab, i);
    }
  }
  template <typename Function>
  __device__ void ForEntries(const Function& function) {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int n = 0; n < N; ++n) function(slab, n);
    }
  }
  __device__ static void AddProduct(const float (&a)[N], const float (&b)[N], float& sum) {
#pragma unroll
    for (int n = 0; n < N; ++n) sum = fmaf(a[n], b[n], sum);
  }

  __device__ void WriteDelta(int64_t t, bool owned) {
    const float beta = a_.write_beta[t];
    float v[kMaxChannels];
    float sums[1 + kMaxChannels] = {};
#pragma unroll
    for (int j = 0; j < kMaxChannels; ++j) v[j] = j < a_.d_v ? a_.write_v[t * a_.d_v + j] : 0;
    ForFeatures([&](int slab, int) {
      AddProduct(h_[slab], h_[slab], sums[0]);
#pragma unroll
      for (int j = 0; j < kMaxChannels; ++j) {
        if (j < a_.d_v) AddProduct(h_[slab], x_[j][slab], sums[1 + j]);
      }
    });
    BlockSum(sums);
    const float length = sqrtf(sums[0] + a_.k_eps * a_.k_eps);
#pragma unroll
    for (int j = 0; j < kMaxChannels; ++j) {
      if (j >= a_.d_v) continue;
      const float projection = sums[1 + j] / length;
      const float step = beta * (v[j] - projection) / length;
      ForFeatures([&](int slab, int) {
#pragma unroll
        for (int n = 0; n < N; ++n) x_[j][slab][n] = fmaf(step, h_[slab][n], x_[j][slab][n]);
      });
      if (owned && a_.proj != nullptr && threadIdx.x == 0) a_.proj[t * a_.d_v + j] = projection;
    }
  }

  // out[n] = sum over channels of weight[j, i + n] x_[j].
  __device__ void Weigh(const float* weight, int slab, int i, float (&out)[N]) {
#pragma unroll
    for (int n = 0; n < N; ++n) out[n] = 0;
#pragma unroll
    for (int j = 0; j < kMaxChannels; ++j) {
      if (j >= a_.d_v) continue;
      float w[N];
      Load(weight + int64_t{j} * a_.d + i, w);
#pragma unroll
      for (int n = 0; n < N; ++n) out[n] = fmaf(w[n], x_[j][slab][n], out[n]);
    }
  }

  // Row m of the running sums is what tokens so far contribute to the m+1-th token from here. The
  // oldest term of a sum comes first, so that a sum is the same bits wherever a run is cut.
  __device__ void ReadTime(int slab, int i) {
    for (int ahead = 0; ahead < a_.num_taps; ++ahead) {
      const int tap = a_.num_taps - 1 - ahead;
      float sum[N];
      Weigh(a_.read_weight + int64_t{tap} * a_.d_v * a_.d, slab, i, sum);
      if (tap > 0) {
        float before[N];
        Load(RunningSums(ahead, i), before);
#pragma unroll
        for (int n = 0; n < N; ++n) sum[n] = before[n] + sum[n];
      }
      if (ahead > 0) {
        Store(sum, RunningSums(ahead - 1, i));
      } else {
#pragma unroll
        for (int n = 0; n < N; ++n) in_[slab][n] = sum[n];
      }
    }
  }
  // A thread's own: nobody else reads them.
  __device__ float* RunningSums(int row, int i) {
    return reinterpret_cast<float*>(SharedMemory()) + row * a_.d + i;
  }

  const BoundaryArgs& a_;
  float x_[kMaxChannels][kSlabs][N];
  float h_[kSlabs][N];
  float in_[kSlabs][N];
};

// A read over time sees the updated state of the K-1 tokens before a token. Where a block begins
// inside a run, it computes those once more, from src.
template <int kMaxChannels, int N, int kSlabs>
__global__ void __launch_bounds__(kMaxBlockThreads) BoundaryKernel(BoundaryArgs a) {
  BoundaryThread<kMaxChannels, N, kSlabs> thread(a);
  if (a.read != BoundaryParams::Read::kTime) {
    const int64_t t = blockIdx.x;
    thread.Write(t, /*owned=*/true);
    thread.Read();
    thread.Finish(t);
    return;
  }
  int64_t begin = int64_t{blockIdx.x} * a.block_tokens;
  int64_t end = begin + a.block_tokens < a.num_tokens ? begin + a.block_tokens : a.num_tokens;
  if (a.block_tokens == 0) {
    begin = a.query_offsets[blockIdx.x];
    end = a.query_offsets[blockIdx.x + 1];
  }
  while (begin < end) {
    const int32_t sequence = a.sequence_of[begin];
    const int64_t run_begin = a.query_offsets[sequence];
    const int64_t run_end = a.query_offsets[sequence + 1];
    const int64_t part_end = run_end < end ? run_end : end;
    const int64_t first = begin - run_begin < a.num_taps - 1 ? run_begin : begin - a.num_taps + 1;
    float* slot = a.tails + a.state_slot[sequence] * a.tails_stride;
    const bool continues = first == run_begin && a.positions[run_begin] != 0;
    thread.LoadTail(continues ? slot : nullptr);
    for (int64_t t = first; t < part_end; ++t) {
      const bool owned = t >= begin;
      thread.Write(t, owned);
      thread.Read();
      if (owned) thread.Finish(t);
    }
    // Of a run that several blocks share, BoundaryTailsKernel leaves the tail: the first of them
    // may not have read the old one yet.
    if (begin == run_begin && part_end == run_end) thread.StoreTail(slot);
    begin = part_end;
  }
}

// The tails of runs that several blocks share, from the state they have written. A block for each
// run.
//
// Bytes: S (K-1) d (d_v + 2) 4. FLOPs: 2 S (K-1) K d_v d.
template <int kMaxChannels, int N, int kSlabs>
__global__ void __launch_bounds__(kMaxBlockThreads) BoundaryTailsKernel(BoundaryArgs a) {
  const int64_t run_begin = a.query_offsets[blockIdx.x], run_end = a.query_offsets[blockIdx.x + 1];
  if (run_begin == run_end) return;
  if (run_begin / a.block_tokens == (run_end - 1) / a.block_tokens) return;
  const int64_t num_before = a.num_taps - 1;
  const int64_t first = run_end - run_begin < num_before ? run_begin : run_end - num_before;
  float* slot = a.tails + a.state_slot[blockIdx.x] * a.tails_stride;
  const bool continues = first == run_begin && a.positions[run_begin] != 0;
  BoundaryThread<kMaxChannels, N, kSlabs> thread(a);
  thread.LoadTail(continues ? slot : nullptr);
  for (int64_t t = first; t < run_end; ++t) {
    thread.Write(t, /*owned=*/false);
    thread.Read();
  }
  thread.StoreTail(slot);
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_BOUNDARY_CUH_
