// Conversion between the dtypes of a model, vectorised.
#ifndef DELTASERVE_KERNELS_CPU_CONVERT_H_
#define DELTASERVE_KERNELS_CPU_CONVERT_H_

#include <cstdint>

#include "kernels/tensor.h"

namespace deltaserve::cpu {

// to[i] = from[i], i < count, between kF32 and kBF16; rounds as ToBFloat16().
void Convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_CONVERT_H_
