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
    int64_t left_bytes_ = 0;  // room for more
    std::vector<Lines> regions_;
    size_t next_ = 0;
  };

  // `capacity_bytes`: of all together, what is still there when it is read.
  ReadAhead(int num_workers, int64_t capacity_bytes)
      : shares_(num_workers), share_bytes_(capacity_bytes / num_workers) {}

  void Clear() {
    for (Share& share : shares_) {
      share.regions_.clear();
      share.next_ = 0;
      share.left_bytes_ = share_bytes_;
    }
  }
  // Whole lines that `worker` will read. Beyond its capacity nothing is added, and false returned.
  bool Add(int worker, const void* data, int64_t size_bytes) {
    Share& share = shares_[worker];
    if (size_bytes > share.left_bytes_) return false;
    share.left_bytes_ -= size_bytes;
    const char* begin = static_cast<const char*>(data);
    share.regions_.push_back({begin, begin + size_bytes});
    return true;
  }

  Share& share(int worker) { return shares_[worker]; }

 private:
  std::vector<Share> shares_;
  const int64_t share_bytes_;
};

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_READ_AHEAD_H_
