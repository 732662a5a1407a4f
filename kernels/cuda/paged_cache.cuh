// Where the key or the value of a position lies: [pages, 2, H, page_tokens, D].
#ifndef DELTASERVE_KERNELS_CUDA_PAGED_CACHE_CUH_
#define DELTASERVE_KERNELS_CUDA_PAGED_CACHE_CUH_

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda {

enum KeyOrValue { kKeys = 0, kValues = 1 };

struct PagedCache {
  void* data;
  const int32_t* page_table;  // [S, P]
  int64_t page_stride;        // between pages, in elements
  int64_t table_stride;
  int32_t num_heads;
  int32_t head_dim;

  // Of a whole page: the entries of its positions follow each other.
  template <typename T>
  __device__ T* Page(KeyOrValue which, int32_t sequence, int64_t page, int head) const {
    const int64_t id = page_table[sequence * table_stride + page];
    return static_cast<T*>(data) + id * page_stride +
           (int64_t{which} * num_heads + head) * kPageTokens * head_dim;
  }
  template <typename T>
  __device__ T* Entry(KeyOrValue which, int32_t sequence, int64_t position, int head) const {
    return Page<T>(which, sequence, position / kPageTokens, head) +
           position % kPageTokens * head_dim;
  }
};

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_PAGED_CACHE_CUH_
