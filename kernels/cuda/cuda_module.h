// The CUDA backend as a library of its own, libdeltaserve_cuda.so: a program that may use it also
// starts where CUDA's libraries are missing, and opens it (dlopen) where a CUDA device is asked
// for.
#ifndef DELTASERVE_KERNELS_CUDA_CUDA_MODULE_H_
#define DELTASERVE_KERNELS_CUDA_CUDA_MODULE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_backend.h"

namespace deltaserve {

// Changes with Backend and CudaOptions: one that was built from other sources is not to be used.
inline constexpr int kCudaModuleVersion = 1;

struct CudaModule {
  int version;
  int (*num_devices)();                                                          // NumCudaDevices
  absl::StatusOr<std::unique_ptr<Backend>> (*make_backend)(const CudaOptions&);  // MakeCudaBackend
};

// What the library exports, by this name.
inline constexpr char kCudaModuleEntry[] = "DeltaserveCudaModule";
using CudaModuleEntry = const CudaModule*();

}  // namespace deltaserve

#endif  // DELTASERVE_KERNELS_CUDA_CUDA_MODULE_H_
