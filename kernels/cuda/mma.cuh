// Tensor cores: the warp-wide instructions of PTX, with fragments as the PTX ISA lays them out over
// the lanes of a warp. With g = lane / 4 and p = 2 (lane % 4), the lane's parts are
//
//   a, 16 x 16: (g, p..p+1), (g+8, p..p+1), (g, p+8..p+9), (g+8, p+8..p+9), two bf16 each
//   b, 16 x 8:  (p..p+1, g), (p+8..p+9, g), likewise
//   c, 16 x 8:  (g, p), (g, p+1), (g+8, p), (g+8, p+1), fp32
#ifndef DELTASERVE_KERNELS_CUDA_MMA_CUH_
#define DELTASERVE_KERNELS_CUDA_MMA_CUH_

#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda {

// The lower half holds `low`.
__device__ inline uint32_t PackBFloat16(float low, float high) {
  const BFloat16 parts[2] = {FromFloat<BFloat16>(low), FromFloat<BFloat16>(high)};
  uint32_t bits;
  memcpy(&bits, parts, sizeof(bits));
  return bits;
}

// c += a b.
__device__ inline void MultiplyAdd(const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                   float (&c)[4]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  cuda_emulation::MultiplyAdd(a, b0, b1, c);
#endif
}

// Four 8 x 8 matrices of bf16 from shared memory: lane n gives the address of row n % 8 of matrix
// n / 8, and gets (p..p+1, g) of each matrix.
__device__ inline void LoadTransposed(const BFloat16* row, uint32_t (&parts)[4]) {
#if defined(__CUDACC__)
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(address)
               : "memory");
#else
  cuda_emulation::LoadTransposed(row, parts);
#endif
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_MMA_CUH_
