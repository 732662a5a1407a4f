// Memory of the CPU backend.
#ifndef DELTASERVE_KERNELS_CPU_MEMORY_H_
#define DELTASERVE_KERNELS_CPU_MEMORY_H_

#include <cstdint>
#include <memory>
#include <mutex>

namespace deltaserve::cpu {

struct AlignedMemoryDeleter {
  int64_t mapped_bytes = 0;  // 0: from the heap
  void operator()(void* data) const;
};
using AlignedMemory = std::unique_ptr<void, AlignedMemoryDeleter>;

// Zeroed and aligned to 64 bytes. Large blocks are mapped: pages never touched cost nothing, and
// huge pages are asked for. Null when there is not enough.
AlignedMemory AllocateAligned(int64_t size_bytes);

// Hands out pieces of large blocks, so that weights of any size lie in huge pages. A block is freed
// with the last of its pieces. Thread-safe.
class WeightArena {
 public:
  // As AllocateAligned(); pieces may outlive the arena.
  std::shared_ptr<void> Allocate(int64_t size_bytes);

 private:
  std::mutex mutex_;
  // Guarded by mutex_.
  std::shared_ptr<void> block_;  // the one being filled
  int64_t used_bytes_ = 0;
};

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_MEMORY_H_
