#ifndef DELTASERVE_SERVER_CUDA_LIBRARY_H_
#define DELTASERVE_SERVER_CUDA_LIBRARY_H_

#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/cuda_module.h"

namespace deltaserve {

// Opens libdeltaserve_cuda.so of the first of `folders` that has one; it stays open until the
// process ends. NOT_FOUND: none has. FAILED_PRECONDITION: it cannot be used, because a library that
// it needs is missing, say.
absl::StatusOr<const CudaModule*> OpenCudaLibrary(absl::Span<const std::filesystem::path> folders);

// Where it lies: beside the program, or in ../lib from there.
std::vector<std::filesystem::path> CudaLibraryFolders();

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_CUDA_LIBRARY_H_
