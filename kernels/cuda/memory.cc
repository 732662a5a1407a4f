#include "kernels/cuda/memory.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kStagingBytes = 4 * StagedCopies::kMaxBytes;

}  // namespace

absl::StatusOr<Buffer> DeviceMemory::Allocate(int64_t size_bytes) {
  const int64_t taken = std::max<int64_t>(size_bytes, 1);
  const int64_t before = used_bytes_.fetch_add(taken);
  void* memory = nullptr;
  cudaError_t error = cudaErrorMemoryAllocation;
  if (before + taken <= limit_bytes_) {
    error = cudaSetDevice(device_);
    if (error == cudaSuccess) error = cudaMalloc(&memory, taken);
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is no fault of the device
    used_bytes_ -= taken;
    return absl::ResourceExhaustedError(absl::StrCat("cuda:", device_, ": cannot allocate ",
                                                     size_bytes, " bytes; ", before, " of ",
                                                     limit_bytes_, " are taken"));
  }
  if (error != cudaSuccess) {
    used_bytes_ -= taken;
    return absl::InternalError(
        absl::StrCat("cuda:", device_, ": cudaMalloc: ", cudaGetErrorName(error)));
  }
  return Buffer(memory, size_bytes, [this, taken](void* pointer) {
    cudaFree(pointer);
    used_bytes_ -= taken;
  });
}

StagedCopies::StagedCopies(Stream& stream) : stream_(stream) {
  void* memory = nullptr;
  if (stream.Check(cudaMallocHost(&memory, kStagingBytes), "cudaMallocHost")) {
    staging_.reset(static_cast<char*>(memory));
  }
}

char* StagedCopies::Reserve(int64_t size_bytes) {
  if (used_bytes_ + size_bytes > kStagingBytes) {
    stream_.Synchronize();
    used_bytes_ = 0;
  }
  if (!stream_.fault().empty()) return nullptr;
  char* reserved = staging_.get() + used_bytes_;
  used_bytes_ += (size_bytes + 15) / 16 * 16;
  return reserved;
}

void StagedCopies::Commit(void* destination, const char* reserved, int64_t size_bytes) {
  stream_.Flush();
  if (!stream_.fault().empty()) return;
  stream_.Check(
      cudaMemcpyAsync(destination, reserved, size_bytes, cudaMemcpyHostToDevice, stream_.get()),
      "a copy to the device");
}

void StagedCopies::ToDevice(void* destination, const void* source, int64_t size_bytes) {
  for (int64_t done = 0; done < size_bytes;) {
    const int64_t count = std::min(size_bytes - done, kMaxBytes);
    char* reserved = Reserve(count);
    if (reserved == nullptr) return;
    std::memcpy(reserved, static_cast<const char*>(source) + done, count);
    Commit(static_cast<char*>(destination) + done, reserved, count);
    done += count;
  }
}

void StagedCopies::ToHost(void* destination, const void* source, int64_t size_bytes) {
  stream_.Flush();
  for (int64_t done = 0; done < size_bytes;) {
    const int64_t count = std::min(size_bytes - done, kMaxBytes);
    char* reserved = Reserve(count);
    if (reserved == nullptr) return;
    stream_.Check(cudaMemcpyAsync(reserved, static_cast<const char*>(source) + done, count,
                                  cudaMemcpyDeviceToHost, stream_.get()),
                  "a copy to the host");
    if (!stream_.Synchronize().empty()) return;
    std::memcpy(static_cast<char*>(destination) + done, reserved, count);
    used_bytes_ = 0;  // nothing is under way
    done += count;
  }
}

}  // namespace deltaserve::cuda
