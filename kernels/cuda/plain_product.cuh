// A matrix product that adds in the order of the inputs: slow, and the same bits for a row whatever
// rows are beside it.
#ifndef DELTASERVE_KERNELS_CUDA_PLAIN_PRODUCT_CUH_
#define DELTASERVE_KERNELS_CUDA_PLAIN_PRODUCT_CUH_

#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda {

struct PlainProductArgs {
  const void* x;       // [rows, in]
  const void* weight;  // [out, in]
  void* y;             // [rows, out]
  int64_t x_stride;
  int64_t weight_stride;
  int64_t y_stride;
  int32_t rows;
  int32_t in;
  int32_t out;
  int32_t y_is_f32;
};

inline constexpr int kProductTile = 32;
inline constexpr int kProductThreads = 256;

// A block for 32 rows and 32 outputs; a thread has one output of every eighth row.
//
// Bytes: element (rows in out / 32 + in out rows / 32). FLOPs: 2 rows in out, without tensor cores.
template <typename T>
__global__ void __launch_bounds__(kProductThreads) PlainProductKernel(PlainProductArgs a) {
  constexpr int kRowStep = kProductThreads / kProductTile;
  constexpr int kRows = kProductTile / kRowStep;
  // Padded, so that a column of the weight's tile lies in 32 banks.
  __shared__ float x_tile[kProductTile][kProductTile];
  __shared__ float weight_tile[kProductTile][kProductTile + 1];
  const int column = Lane(), warp = WarpIndex();
  const int first_row = static_cast<int>(blockIdx.y) * kProductTile;
  const int first_out = static_cast<int>(blockIdx.x) * kProductTile;
  const T* x = static_cast<const T*>(a.x);
  const T* weight = static_cast<const T*>(a.weight);

  float sums[kRows] = {};
  for (int base = 0; base < a.in; base += kProductTile) {
    const int i = base + column;
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      const int r = n * kRowStep + warp;
      const int row = first_row + r, out = first_out + r;
      x_tile[r][column] = row < a.rows && i < a.in ? ToFloat(x[row * a.x_stride + i]) : 0.0f;
      weight_tile[r][column] =
          out < a.out && i < a.in ? ToFloat(weight[out * a.weight_stride + i]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      const int r = n * kRowStep + warp;
      if (first_row + r >= a.rows) continue;
      for (int k = 0; k < kProductTile; ++k) {
        sums[n] = fmaf(x_tile[r][k], weight_tile[column][k], sums[n]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int row = first_row + n * kRowStep + warp, out = first_out + column;
    if (row >= a.rows || out >= a.out) continue;
    if (a.y_is_f32 != 0) {
      static_cast<float*>(a.y)[row * a.y_stride + out] = sums[n];
    } else {
      static_cast<T*>(a.y)[row * a.y_stride + out] = FromFloat<T>(sums[n]);
    }
  }
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_PLAIN_PRODUCT_CUH_
