#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace deltaserve::cpu {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kSmallPageBytes = 4096;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int64_t kArenaBlockBytes = int64_t{32} << 20;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Null, or `bytes` (a multiple of the small page) that begin on a huge page.
void* MapHuge(int64_t bytes) {
  if (bytes > std::numeric_limits<int64_t>::max() - kHugePageBytes) return nullptr;
  const int64_t mapped = bytes + kHugePageBytes;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(base);
  char* data = reinterpret_cast<char*>(
      RoundUp(static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin)), kHugePageBytes));
  if (data > begin) munmap(begin, data - begin);
  munmap(data + bytes, begin + mapped - (data + bytes));
  madvise(data, bytes, MADV_HUGEPAGE);  // a wish: streaming weights misses the TLB less
  return data;
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
  if (size_bytes < kHugePageBytes) {
    const int64_t bytes = RoundUp(std::max<int64_t>(size_bytes, 1), kAlignment);
    void* data = std::aligned_alloc(kAlignment, bytes);
    if (data != nullptr) std::memset(data, 0, bytes);
    return AlignedMemory(data, AlignedMemoryDeleter{0});
  }
  if (size_bytes > std::numeric_limits<int64_t>::max() - kSmallPageBytes) return nullptr;
  const int64_t bytes = RoundUp(size_bytes, kSmallPageBytes);
  return AlignedMemory(MapHuge(bytes), AlignedMemoryDeleter{bytes});
}

std::shared_ptr<void> WeightArena::Allocate(int64_t size_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t bytes = RoundUp(std::max<int64_t>(size_bytes, 1), kAlignment);
  if (bytes > kArenaBlockBytes / 2) return AllocateAligned(bytes);
  if (block_ == nullptr || used_bytes_ + bytes > kArenaBlockBytes) {
    block_ = AllocateAligned(kArenaBlockBytes);
    used_bytes_ = 0;
    if (block_ == nullptr) return nullptr;
  }
  void* piece = static_cast<char*>(block_.get()) + used_bytes_;
  used_bytes_ += bytes;
  return std::shared_ptr<void>(block_, piece);
}

}  // namespace deltaserve::cpu
