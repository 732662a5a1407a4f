#include "kernels/cuda/cuda_module.h"

extern "C" const deltaserve::CudaModule* DeltaserveCudaModule() {
  static constexpr deltaserve::CudaModule kModule = {.version = deltaserve::kCudaModuleVersion,
                                                     .num_devices = &deltaserve::NumCudaDevices,
                                                     .make_backend = &deltaserve::MakeCudaBackend};
  return &kModule;
}
