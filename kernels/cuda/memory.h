#ifndef DELTASERVE_KERNELS_CUDA_MEMORY_H_
#define DELTASERVE_KERNELS_CUDA_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace deltaserve::cuda {

// A device's memory, up to a limit. Thread-safe; must outlive the buffers.
class DeviceMemory {
 public:
  DeviceMemory(int device, int64_t limit_bytes) : device_(device), limit_bytes_(limit_bytes) {}

  // Not zeroed. RESOURCE_EXHAUSTED names the size and what is left.
  absl::StatusOr<Buffer> Allocate(int64_t size_bytes);

  MemoryBudget budget() const { return {limit_bytes_ - used_bytes_, limit_bytes_}; }

 private:
  const int device_;
  const int64_t limit_bytes_;
  std::atomic<int64_t> used_bytes_ = 0;
};

// Copies through memory that the device can reach, so that a source may be reused at once and a
// copy need not be waited for. As Stream: one thread at a time, the device current.
class StagedCopies {
 public:
  // The stream must outlive it.
  explicit StagedCopies(Stream& stream);

  // After the stream's commands so far.
  void ToDevice(void* destination, const void* source, int64_t size_bytes);
  void ToHost(void* destination, const void* source, int64_t size_bytes);

  // The two halves of ToDevice, for a source that is made in place: room for at most kMaxBytes, or
  // null after a fault; then its way to the device.
  static constexpr int64_t kMaxBytes = 1 << 20;
  char* Reserve(int64_t size_bytes);
  void Commit(void* destination, const char* reserved, int64_t size_bytes);

 private:
  struct HostDeleter {
    void operator()(char* memory) const { cudaFreeHost(memory); }
  };

  Stream& stream_;
  std::unique_ptr<char, HostDeleter> staging_;
  int64_t used_bytes_ = 0;  // by copies that may be under way
};

}  // namespace deltaserve::cuda

#endif  // DELTASERVE_KERNELS_CUDA_MEMORY_H_
