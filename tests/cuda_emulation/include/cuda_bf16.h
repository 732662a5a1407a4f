// What kernels use of CUDA's header of this name, for the CPU.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_BF16_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_BF16_H_

#include "kernels/tensor.h"

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) { return deltaserve::FromBFloat16(value.bits); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return {deltaserve::ToBFloat16(value)}; }

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUDA_BF16_H_
