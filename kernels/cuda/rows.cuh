// Ops that are a formula for every entry of a row.
#ifndef DELTASERVE_KERNELS_CUDA_ROWS_CUH_
#define DELTASERVE_KERNELS_CUDA_ROWS_CUH_

#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda {

// out = silu(gate) * up. N entries a thread.
//
// Bytes: T * hid * (8 + element). FLOPs: about 10 T * hid. Bandwidth decides.
struct SwiGluArgs {
  const float* gate_up;  // [T, 2 * hid]
  void* out;             // [T, hid]
  int64_t gate_up_stride;
  int64_t out_stride;
  int64_t hidden;
};

template <typename T, int N>
__global__ void SwiGluKernel(SwiGluArgs a) {
  const int64_t t = blockIdx.y;
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * N;
  if (i >= a.hidden) return;
  float gate[N], up[N];
  const float* row = a.gate_up + t * a.gate_up_stride;
  Load(row + i, gate);
  Load(row + a.hidden + i, up);
#pragma unroll
  for (int n = 0; n < N; ++n) gate[n] = Silu(gate[n]) * up[n];
  Store(gate, static_cast<T*>(a.out) + t * a.out_stride + i);
}

// to[m] = from[index of m], whole rows as 16-, 4- or 2-byte units.
//
// Bytes: 2 * rows * row bytes. FLOPs: none.
struct MoveRowsArgs {
  const char* from;
  char* to;
  const int32_t* from_rows;
  const int32_t* to_rows;  // absent: row m
  int64_t index_stride;    // between one row's entry and the next one's
  int64_t from_stride_bytes;
  int64_t to_stride_bytes;
  int64_t row_units;
};

template <typename Unit>
__global__ void MoveRowsKernel(MoveRowsArgs a) {
  const int64_t m = blockIdx.y;
  const int64_t from_row = a.from_rows[m * a.index_stride];
  const int64_t to_row = a.to_rows != nullptr ? a.to_rows[m * a.index_stride] : m;
  const Unit* from = reinterpret_cast<const Unit*>(a.from + from_row * a.from_stride_bytes);
  Unit* to = reinterpret_cast<Unit*>(a.to + to_row * a.to_stride_bytes);
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.row_units;
       i += int64_t{gridDim.x} * blockDim.x) {
    to[i] = from[i];
  }
}

// to[m] = from[m], then zeros.
//
// Bytes: rows * (row bytes + padded row bytes). FLOPs: none.
struct PadRowsArgs {
  const void* from;
  void* to;
  int64_t from_stride;
  int64_t to_stride;
  int32_t width;
  int32_t padded_width;
};

template <typename Unit>
__global__ void PadRowsKernel(PadRowsArgs a) {
  const int64_t m = blockIdx.y;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= a.padded_width) return;
  const Unit value =
      i < a.width ? static_cast<const Unit*>(a.from)[m * a.from_stride + i] : Unit{0};
  static_cast<Unit*>(a.to)[m * a.to_stride + i] = value;
}

// beta = 2 sigmoid(out_weight . tanh(hidden) + out_bias). A block for each token.
//
// Bytes: 4 T * b. FLOPs: about 20 T * b.
struct TwoLayerGateArgs {
  const float* hidden;
  const float* out_weight;
  float* beta;
  int64_t hidden_stride;
  int32_t width;
  float out_bias;
};

__global__ void TwoLayerGateKernel(TwoLayerGateArgs a) {
  const int64_t t = blockIdx.x;
  const float* hidden = a.hidden + t * a.hidden_stride;
  float sum[1] = {0};
  for (int i = static_cast<int>(threadIdx.x); i < a.width; i += static_cast<int>(blockDim.x)) {
    sum[0] += a.out_weight[i] * tanhf(hidden[i]);
  }
  BlockSum(sum);
  if (threadIdx.x == 0) a.beta[t] = 2 * Sigmoid(sum[0] + a.out_bias);
}

// FORMAT.md 3.2 steps 6-7 in place. A warp for each head of a token.
//
// Bytes: T * H * D * (2 element + 4). FLOPs: about 15 T * H * D.
struct HeadNormGateArgs {
  void* y;
  const float* norm_weight;  // absent: no norm
  const float* gate;         // absent: no gate
  int64_t y_stride;
  int64_t gate_stride;
  int32_t num_heads;
  int32_t head_dim;
  int64_t num_rows;  // T * H
  double norm_eps;
};

template <typename T>
__global__ void HeadNormGateKernel(HeadNormGateArgs a) {
  const int64_t row = int64_t{blockIdx.x} * NumWarps() + WarpIndex();
  if (row >= a.num_rows) return;  // the whole warp
  const int64_t t = row / a.num_heads, begin = row % a.num_heads * a.head_dim;
  T* y = static_cast<T*>(a.y) + t * a.y_stride + begin;
  float root = 1;
  if (a.norm_weight != nullptr) {
    float sum = 0;
    for (int i = Lane(); i < a.head_dim; i += kWarpSize) sum += ToFloat(y[i]) * ToFloat(y[i]);
    root = sqrtf(WarpSum(sum) / static_cast<float>(a.head_dim) + static_cast<float>(a.norm_eps));
  }
  for (int i = Lane(); i < a.head_dim; i += kWarpSize) {
    float value = ToFloat(y[i]);
    if (a.norm_weight != nullptr) value = a.norm_weight[i] * value / root;
    if (a.gate != nullptr) value *= Silu(a.gate[t * a.gate_stride + begin + i]);
    y[i] = FromFloat<T>(value);
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_ROWS_CUH_
