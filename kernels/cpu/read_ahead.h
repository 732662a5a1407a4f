#ifndef DELTASERVE_KERNELS_CPU_READ_AHEAD_H_
#define DELTASERVE_KERNELS_CPU_READ_AHEAD_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace deltaserve::cpu {

// Memory that a later op will read, for products to ask for while they compute: those of many rows
// leave it idle. What they fetch goes through the second-level caches to the last-level one, and is
// read from there. Written by one thread while no worker runs; then each worker has its share.
class ReadAhead {
 public:
  static constexpr int64_t kLineBytes = 64;

  struct Lines {
    const char* begin = nullptr;
    const char* end = nullptr;
  };

  class alignas(64) Share {
   public:
    // The next ones, at most `max_lines` and perhaps fewer; empty once all are taken.
    Lines Take(int64_t max_lines) {
      if (next_ == regions_.size()) return {};
      Lines& region = regions_[next_];
      const char* begin = region.begin;
      region.begin = std::min(region.end, begin + max_lines * kLineBytes);
      if (region.begin == region.end) ++next_;
      return {begin, region.begin};
    }

   private:
    friend class ReadAhead;
    std::vector<Lines> regions_;
    size_t next_ = 0;
  };

  // `capacity_bytes`: what is still there when it is read.
  ReadAhead(int num_workers, int64_t capacity_bytes)
      : shares_(num_workers), capacity_bytes_(capacity_bytes) {}

  void Clear() {
    for (Share& share : shares_) {
      share.regions_.clear();
      share.next_ = 0;
    }
    num_regions_ = 0;
    left_bytes_ = capacity_bytes_;
  }
  // Whole lines, to the worker whose turn it is. Beyond the capacity nothing is added, and false
  // returned.
  bool Add(const void* data, int64_t size_bytes) {
    if (size_bytes > left_bytes_) return false;
    left_bytes_ -= size_bytes;
    const char* begin = static_cast<const char*>(data);
    shares_[num_regions_++ % shares_.size()].regions_.push_back({begin, begin + size_bytes});
    return true;
  }

  Share& share(int worker) { return shares_[worker]; }

 private:
  std::vector<Share> shares_;
  const int64_t capacity_bytes_;
  int64_t left_bytes_ = 0;
  size_t num_regions_ = 0;
};

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_READ_AHEAD_H_
