#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace deltaserve::cpu {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kPageBytes = 4096;
constexpr int64_t kMapFrom = int64_t{1} << 21;  // one huge page

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

void AlignedMemoryDeleter::operator()(void* data) const {
  if (mapped_bytes > 0) {
    munmap(data, mapped_bytes);
  } else {
    std::free(data);
  }
}

AlignedMemory AllocateAligned(int64_t size_bytes) {
  if (size_bytes < kMapFrom) {
    const int64_t bytes = RoundUp(std::max<int64_t>(size_bytes, 1), kAlignment);
    void* data = std::aligned_alloc(kAlignment, bytes);
    if (data != nullptr) std::memset(data, 0, bytes);
    return AlignedMemory(data, AlignedMemoryDeleter{0});
  }
  const int64_t bytes = RoundUp(size_bytes, kPageBytes);
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return AlignedMemory(nullptr, AlignedMemoryDeleter{0});
  madvise(data, bytes, MADV_HUGEPAGE);  // a wish: fewer TLB misses while weights are streamed
  return AlignedMemory(data, AlignedMemoryDeleter{bytes});
}

}  // namespace deltaserve::cpu
