// The backend for NVIDIA GPUs of compute capability 8.0 and later.
#ifndef DELTASERVE_KERNELS_CUDA_CUDA_BACKEND_H_
#define DELTASERVE_KERNELS_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace deltaserve {

struct CudaOptions {
  int device = 0;
  // The share of the device's memory that Allocate and PackLinear may hand out, of what is free
  // when the backend is made.
  double memory_utilization = 0.9;
  // Products by a kernel that gives a row the same bits whatever rows are beside it, and attention
  // without tensor cores: slow, for tests of such promises. Otherwise a row's bits depend on how
  // many rows there are, never on what is in them.
  bool row_invariant = false;
};

// How many devices there are; 0 where there is no driver.
int NumCudaDevices();

// Model dtypes kF32 and kBF16. After a fault of the device nothing runs any more, and every call
// that reports says what the fault was. NOT_FOUND: there is no such device, or no driver for it.
// FAILED_PRECONDITION: it is too old, or does not start.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options);

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_CUDA_CUDA_BACKEND_H_
