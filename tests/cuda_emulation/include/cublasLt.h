// What the CUDA backend uses of cuBLASLt's header, for the CPU: products of matrices that count
// columns first.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUBLASLT_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUBLASLT_H_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16BF = 14 };
enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7 };
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68 };
enum cublasLtMatmulDescAttributes_t { CUBLASLT_MATMUL_DESC_TRANSA = 3 };
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
};

using cublasLtHandle_t = int*;
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading_dimension;
};
struct cublasLtMatmulDescOpaque_t {
  cublasOperation_t a_operation;
};
struct cublasLtMatmulPreferenceOpaque_t {
  uint32_t alignment;
};
struct cublasLtMatmulAlgo_t {
  uint64_t rows;  // of D it was made for
};
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
};

inline const char* cublasLtGetStatusName(cublasStatus_t) { return "CUBLAS_STATUS_INVALID_VALUE"; }
inline cublasStatus_t cublasLtCreate(cublasLtHandle_t*) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

inline cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayoutOpaque_t* layout,
                                               cudaDataType_t type, uint64_t rows, uint64_t columns,
                                               int64_t leading_dimension) {
  if (leading_dimension < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = {type, rows, columns, leading_dimension};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDescOpaque_t* product,
                                             cublasComputeType_t, cudaDataType_t) {
  *product = {CUBLAS_OP_N};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDescOpaque_t* product,
                                                     cublasLtMatmulDescAttributes_t,
                                                     const cublasOperation_t* value, size_t) {
  product->a_operation = *value;
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreferenceOpaque_t*) {
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreferenceOpaque_t*,
                                                           cublasLtMatmulPreferenceAttributes_t,
                                                           const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDescOpaque_t*, cublasLtMatrixLayoutOpaque_t*,
    cublasLtMatrixLayoutOpaque_t*, cublasLtMatrixLayoutOpaque_t*, cublasLtMatrixLayoutOpaque_t* d,
    cublasLtMatmulPreferenceOpaque_t*, int, cublasLtMatmulHeuristicResult_t* results, int* count) {
  results[0].algo = {d->columns};
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

// D = A^T B, added up in order; alpha 1, beta 0.
inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, const cublasLtMatmulDescOpaque_t* product,
                                     const float*, const void* a,
                                     const cublasLtMatrixLayoutOpaque_t* a_layout, const void* b,
                                     const cublasLtMatrixLayoutOpaque_t* b_layout, const float*,
                                     const void*, const cublasLtMatrixLayoutOpaque_t*, void* d,
                                     const cublasLtMatrixLayoutOpaque_t* d_layout,
                                     const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                                     cudaStream_t stream) {
  if (product->a_operation != CUBLAS_OP_T || a_layout->rows != b_layout->rows ||
      a_layout->columns != d_layout->rows || b_layout->columns != d_layout->columns ||
      a_layout->type != b_layout->type || d_layout->columns > algorithm->rows) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const auto work = [a, b, d, a_layout = *a_layout, b_layout = *b_layout, d_layout = *d_layout] {
    const auto load = [](const void* data, const cublasLtMatrixLayoutOpaque_t& layout, uint64_t row,
                         uint64_t column) {
      const int64_t at = static_cast<int64_t>(column) * layout.leading_dimension + row;
      if (layout.type == CUDA_R_32F) return static_cast<const float*>(data)[at];
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[at]);
    };
    for (uint64_t column = 0; column < d_layout.columns; ++column) {
      for (uint64_t row = 0; row < d_layout.rows; ++row) {
        float sum = 0;
        for (uint64_t i = 0; i < a_layout.rows; ++i) {
          sum += load(a, a_layout, i, row) * load(b, b_layout, i, column);
        }
        const int64_t at = static_cast<int64_t>(column) * d_layout.leading_dimension + row;
        if (d_layout.type == CUDA_R_32F) {
          static_cast<float*>(d)[at] = sum;
        } else {
          static_cast<__nv_bfloat16*>(d)[at] = __float2bfloat16_rn(sum);
        }
      }
    }
  };
  return deltaserve::cuda_emulation::Submit(stream, work) == cudaSuccess
             ? CUBLAS_STATUS_SUCCESS
             : CUBLAS_STATUS_INVALID_VALUE;
}

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_INCLUDE_CUBLASLT_H_
