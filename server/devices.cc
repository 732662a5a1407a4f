#include "server/devices.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "server/cuda_library.h"

namespace deltaserve {

DeviceChoice ChooseDevice() {
  const absl::StatusOr<const CudaModule*> cuda = OpenCudaLibrary(CudaLibraryFolders());
  if (!cuda.ok()) return {.device = "cpu", .reason = std::string(cuda.status().message())};
  if ((*cuda)->num_devices() == 0) return {.device = "cpu", .reason = "there is no CUDA device"};
  return {.device = "cuda:0", .reason = "there is a CUDA device"};
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> OpenDevices(const Options& options) {
  std::vector<std::unique_ptr<Backend>> devices;
  if (options.cuda_devices.empty()) {
    absl::StatusOr<std::unique_ptr<Backend>> backend =
        options.device == "reference" ? MakeReferenceBackend()
                                      : MakeCpuBackend({.num_threads = options.threads});
    if (!backend.ok()) return backend.status();
    devices.push_back(*std::move(backend));
    return devices;
  }
  const absl::StatusOr<const CudaModule*> cuda = OpenCudaLibrary(CudaLibraryFolders());
  if (!cuda.ok()) {
    return absl::Status(cuda.status().code(),
                        absl::StrCat(options.device, ": ", cuda.status().message()));
  }
  for (const int32_t device : options.cuda_devices) {
    absl::StatusOr<std::unique_ptr<Backend>> backend = (*cuda)->make_backend(
        {.device = device, .memory_utilization = options.gpu_memory_utilization});
    if (!backend.ok()) return backend.status();
    devices.push_back(*std::move(backend));
  }
  return devices;
}

}  // namespace deltaserve
