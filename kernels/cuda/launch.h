// How ops shape their launches.
#ifndef DELTASERVE_KERNELS_CUDA_LAUNCH_H_
#define DELTASERVE_KERNELS_CUDA_LAUNCH_H_

#include <cstdint>

#include "kernels/tensor.h"

namespace deltaserve::cuda {

inline constexpr unsigned kBlockThreads = 256;

inline int64_t CeilDiv(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }
inline unsigned Blocks(int64_t count, int64_t per_block) {
  return static_cast<unsigned>(CeilDiv(count, per_block));
}
inline unsigned Unsigned(int64_t value) { return static_cast<unsigned>(value); }

// Whether all rows of the view, and all columns of it that begin at a multiple of `count` elements,
// may be loaded `count` at a time.
inline bool Aligned(const TensorView& view, int64_t count) {
  if (!view) return true;
  const int64_t bytes = count * SizeBytes(view.dtype);
  return reinterpret_cast<uintptr_t>(view.data) % bytes == 0 && view.row_stride % count == 0;
}

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_LAUNCH_H_
