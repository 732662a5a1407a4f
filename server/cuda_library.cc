#include "server/cuda_library.h"

#include <dlfcn.h>

#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace deltaserve {
namespace {

constexpr char kFileName[] = "libdeltaserve_cuda.so";

absl::StatusOr<const CudaModule*> Open(const std::filesystem::path& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("CUDA cannot be used: ", dlerror()));
  }
  const auto entry = reinterpret_cast<CudaModuleEntry*>(dlsym(library, kCudaModuleEntry));
  const CudaModule* const module = entry == nullptr ? nullptr : entry();
  if (module == nullptr || module->version != kCudaModuleVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("CUDA cannot be used: ", path.string(), " is of another version"));
  }
  return module;
}

}  // namespace

absl::StatusOr<const CudaModule*> OpenCudaLibrary(absl::Span<const std::filesystem::path> folders) {
  for (const std::filesystem::path& folder : folders) {
    std::error_code error;
    if (std::filesystem::exists(folder / kFileName, error)) return Open(folder / kFileName);
  }
  return absl::NotFoundError(absl::StrCat(
      "this build has no CUDA: there is no ", kFileName, " in ",
      absl::StrJoin(folders, " or ", [](std::string* out, const std::filesystem::path& folder) {
        out->append(folder.string());
      })));
}

std::vector<std::filesystem::path> CudaLibraryFolders() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path folder = program.parent_path();
  return {folder, folder.parent_path() / "lib"};
}

}  // namespace deltaserve
