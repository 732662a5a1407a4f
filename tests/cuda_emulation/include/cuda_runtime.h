// What the CUDA backend uses of CUDA's header of this name, for the CPU: the language's built-in
// names and the runtime's functions. Everything runs when it is called.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_RUNTIME_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_RUNTIME_H_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/cuda_emulation/emulator.h"
#include "tests/cuda_emulation/tensor_core.h"

// --- The language.

#define DELTASERVE_CUDA_EMULATION 1

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __grid_constant__
#define __launch_bounds__(...)
// One block runs at a time.
#define __shared__ static thread_local

using dim3 = deltaserve::cuda_emulation::Size3;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline void __syncthreads() { deltaserve::cuda_emulation::SyncThreads(false); }
inline int __syncthreads_or(int predicate) {
  return deltaserve::cuda_emulation::SyncThreads(predicate != 0) > 0;
}
inline int __syncthreads_count(int predicate) {
  return deltaserve::cuda_emulation::SyncThreads(predicate != 0);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  deltaserve::cuda_emulation::Exchange(mask, 0);
}
inline void __threadfence() {}

namespace deltaserve::cuda_emulation {

template <typename T>
T Shuffle(unsigned mask, T value, int source_lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const uint64_t* all = Exchange(mask, bits);
  T result;
  std::memcpy(&result, &all[source_lane], sizeof(T));
  return result;
}

}  // namespace deltaserve::cuda_emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return deltaserve::cuda_emulation::Shuffle(mask, value, lane % 32);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
  const int lane = deltaserve::cuda_emulation::Lane();
  return deltaserve::cuda_emulation::Shuffle(mask, value, lane ^ lane_mask);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
  const int lane = deltaserve::cuda_emulation::Lane();
  const int source = lane - static_cast<int>(delta);
  return deltaserve::cuda_emulation::Shuffle(mask, value, source < 0 ? lane : source);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* all = deltaserve::cuda_emulation::Exchange(mask, predicate != 0);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(all[lane]) << lane;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, static_cast<T>(*address + value));
}
inline unsigned atomicOr(unsigned* address, unsigned value) {
  return std::exchange(*address, *address | value);
}

inline int __popc(unsigned value) { return std::popcount(value); }
inline int __ffs(int value) { return value == 0 ? 0 : std::countr_zero(unsigned(value)) + 1; }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
using std::isfinite;
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// --- The runtime.

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
  cudaErrorIllegalAddress = 700,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
inline constexpr unsigned cudaStreamNonBlocking = 1;
using cudaStream_t = struct EmulatedStream*;
using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMalloc(void** address, size_t size_bytes);
cudaError_t cudaFree(void* address);
cudaError_t cudaMallocHost(void** address, size_t size_bytes);
cudaError_t cudaFreeHost(void* address);
cudaError_t cudaMemsetAsync(void* address, int value, size_t size_bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* destination, const void* source, size_t size_bytes,
                            cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

namespace deltaserve::cuda_emulation {

// Does the work now or, in a stream that is being captured, keeps it for the graph.
cudaError_t Submit(cudaStream_t stream, std::function<void()> work);

}  // namespace deltaserve::cuda_emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return deltaserve::cuda_emulation::Submit(
      config->stream, [config = *config, kernel,
                       arguments = std::tuple<std::remove_cv_t<Parameters>...>(arguments...)] {
        deltaserve::cuda_emulation::RunGrid(config.gridDim, config.blockDim,
                                            config.dynamicSmemBytes,
                                            [&] { std::apply(kernel, arguments); });
      });
}

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_RUNTIME_H_
