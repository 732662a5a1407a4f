// The CPU backend: oneDNN for matrix products, Highway SIMD for the rest.
//
// fp32 and bf16. Results of a row are the same bits whatever else is in the batch, however a prompt
// is cut, and for any number of threads; they differ between instruction sets. DNNL_MAX_CPU_ISA
// (AVX512_CORE, AVX2, SSE41) in the environment holds the whole backend to a lower one.
#ifndef DELTASERVE_KERNELS_CPU_CPU_BACKEND_H_
#define DELTASERVE_KERNELS_CPU_CPU_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace deltaserve {

struct CpuOptions {
  int num_threads = 0;  // 0: one per processor
};

// INVALID_ARGUMENT for a negative number of threads.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_CPU_CPU_BACKEND_H_
