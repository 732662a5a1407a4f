// The model dtype as a C++ type.
#ifndef DELTASERVE_KERNELS_CPU_DTYPE_H_
#define DELTASERVE_KERNELS_CPU_DTYPE_H_

#include <cstdint>

#include "kernels/tensor.h"

namespace deltaserve::cpu {

struct BFloat16 {
  uint16_t bits;
};

// Calls visitor(T()) with T the element type of kF32 or kBF16.
template <typename Visitor>
void VisitDType(DType dtype, Visitor&& visitor) {
  if (dtype == DType::kBF16) {
    visitor(BFloat16());
  } else {
    visitor(float());
  }
}

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_DTYPE_H_
