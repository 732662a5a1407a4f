// What kernels have in common: sums over a warp and a block, 16-byte accesses, shared memory.
//
// Kernels are compiled by nvcc, and by g++ for the emulation (tests/cuda_emulation), which brings
// its own cuda_runtime.h. Every sum has a fixed order: none depends on which rows are beside a row.
#ifndef DELTASERVE_KERNELS_CUDA_DEVICE_CUH_
#define DELTASERVE_KERNELS_CUDA_DEVICE_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace deltaserve::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr int kMaxBlockThreads = 1024;
inline constexpr unsigned kAllLanes = 0xffffffffu;

using BFloat16 = __nv_bfloat16;

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(BFloat16 value) { return __bfloat162float(value); }
template <typename T>
__device__ inline T FromFloat(float value);
template <>
__device__ inline float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ inline BFloat16 FromFloat<BFloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// N values that are loaded and stored at once; their address is a multiple of their size.
template <typename T, int N>
struct alignas(N * sizeof(T)) Pack {
  T values[N];
};

template <int N, typename T>
__device__ inline void Load(const T* from, float (&to)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int n = 0; n < N; ++n) to[n] = ToFloat(pack.values[n]);
}

template <int N, typename T>
__device__ inline void Store(const float (&from)[N], T* to) {
  Pack<T, N> pack;
#pragma unroll
  for (int n = 0; n < N; ++n) pack.values[n] = FromFloat<T>(from[n]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

__device__ inline float Sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }
__device__ inline float Silu(float z) { return z * Sigmoid(z); }

// The block's dynamic shared memory.
__device__ inline char* SharedMemory() {
#if defined(__CUDACC__)
  extern __shared__ float4 dynamic_shared_memory[];
  return reinterpret_cast<char*>(dynamic_shared_memory);
#else
  return static_cast<char*>(cuda_emulation::SharedMemory());
#endif
}

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ inline int WarpIndex() { return static_cast<int>(threadIdx.x) / kWarpSize; }
__device__ inline int NumWarps() { return static_cast<int>(blockDim.x) / kWarpSize; }

// The sum over the warp, the same bits in every lane.
template <typename T>
__device__ inline T WarpSum(T value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// N sums over a one-dimensional block, the same bits in every thread. All threads call it.
template <int N, typename T>
__device__ inline void BlockSum(T (&values)[N]) {
  __shared__ T of_warp[N][kMaxBlockThreads / kWarpSize];
#pragma unroll
  for (int n = 0; n < N; ++n) {
    values[n] = WarpSum(values[n]);
    if (Lane() == 0) of_warp[n][WarpIndex()] = values[n];
  }
  __syncthreads();
  const int num_warps = NumWarps();
#pragma unroll
  for (int n = 0; n < N; ++n) {
    T sum = of_warp[n][0];
    for (int warp = 1; warp < num_warps; ++warp) sum += of_warp[n][warp];
    values[n] = sum;
  }
  __syncthreads();  // the next call writes of_warp again
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_DEVICE_CUH_
