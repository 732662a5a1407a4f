// Products of a few rows, where reading the weight is much of the cost and oneDNN leaves a third of
// the memory's bandwidth unused.
#ifndef DELTASERVE_KERNELS_CPU_FEW_ROWS_H_
#define DELTASERVE_KERNELS_CPU_FEW_ROWS_H_

#include <cstdint>

#include "kernels/cpu/read_ahead.h"
#include "kernels/tensor.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace deltaserve::cpu {

inline constexpr int64_t kMaxFewRows = 64;

// A weight [in, out] as oneDNN packs it: blocks of `width` outputs, each [in, width] in fp32 and
// [in / 2, width, 2] in bf16, zero beyond the last input and output.
struct BlockedWeight {
  const void* data = nullptr;
  int64_t width = 0;
  int64_t block_size = 0;  // elements

  // Width 0 for a layout of another kind.
  static BlockedWeight From(const dnnl::memory::desc& desc, const void* data);

  int64_t NumBlocks(int64_t out) const { return (out + width - 1) / width; }
};

// The outputs of blocks [begin, end) of y = x W^T, for 1 to kMaxFewRows rows. The same bits as of
// oneDNN 2.6: within a chunk of 512 inputs, or 1024 where there are more than 1024, an output is
// one chain of multiply-adds (fp32) or vdpbf16ps (bf16); the chunks' sums are then added in order.
// Asks on the way for the lines of `ahead`. Needs AVX-512 with BF16.
void MultiplyFewRows(const TensorView& x, const BlockedWeight& weight, const TensorView& y,
                     int64_t begin, int64_t end, ReadAhead::Share& ahead);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_FEW_ROWS_H_
