// Memory of the CPU backend.
#ifndef DELTASERVE_KERNELS_CPU_MEMORY_H_
#define DELTASERVE_KERNELS_CPU_MEMORY_H_

#include <cstdint>
#include <memory>

namespace deltaserve::cpu {

struct AlignedMemoryDeleter {
  int64_t mapped_bytes = 0;  // 0: from the heap
  void operator()(void* data) const;
};
using AlignedMemory = std::unique_ptr<void, AlignedMemoryDeleter>;

// Zeroed and aligned to 64 bytes. Large blocks are mapped: pages never touched cost nothing, and
// huge pages are asked for. Null when there is not enough.
AlignedMemory AllocateAligned(int64_t size_bytes);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_MEMORY_H_
