#include "kernels/cpu/workers.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "absl/container/fixed_array.h"

namespace deltaserve::cpu {

namespace {

// Half of the last-level cache: the rest is for what passes through it meanwhile.
int64_t ReadAheadCapacity() { return std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE)) / 2; }

}  // namespace

Workers::Workers(int num_threads)
    : count_(num_threads > 0 ? num_threads : omp_get_num_procs()),
      scratch_(count_),
      read_ahead_(count_, ReadAheadCapacity()) {}

namespace {

#if defined(__SANITIZE_THREAD__)
#define DELTASERVE_NO_SANITIZE_THREAD __attribute__((no_sanitize("thread"), noinline))
#else
#define DELTASERVE_NO_SANITIZE_THREAD
#endif

// The start and the end of a parallel region order memory, but ThreadSanitizer does not see into
// the OpenMP runtime. These tell it, at the cost of two uncontended atomics a worker.
class RegionFence {
 public:
  void Publish() { ready_.store(true, std::memory_order_release); }
  void RunWorker(absl::FunctionRef<void(int)> body) {
    while (!ready_.load(std::memory_order_acquire)) continue;
    body(omp_get_thread_num());
    finished_.fetch_add(1, std::memory_order_release);
  }
  void Collect() { (void)finished_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> ready_{false};
  std::atomic<int> finished_{0};
};

DELTASERVE_NO_SANITIZE_THREAD void ParallelRegion(int num_threads, RegionFence* fence,
                                                  absl::FunctionRef<void(int)>* body) {
#pragma omp parallel num_threads(num_threads)
  fence->RunWorker(*body);
}

}  // namespace

void Workers::Run(absl::FunctionRef<void(int)> body) const {
  RegionFence fence;
  fence.Publish();
  ParallelRegion(count_, &fence, &body);
  fence.Collect();
}

void Workers::ReleaseThread() { omp_pause_resource_all(omp_pause_soft); }

void Workers::ForRanges(int64_t count, int64_t grain,
                        absl::FunctionRef<void(int64_t, int64_t, int)> body) const {
  if (count <= 0) return;
  const int64_t ranges = std::clamp<int64_t>(count / std::max<int64_t>(grain, 1), 1, count_);
  if (ranges == 1) return body(0, count, 0);
  Run([&](int worker) {
    const int64_t begin = count * worker / ranges;
    const int64_t end = count * (worker + 1) / ranges;
    if (worker < ranges && begin < end) body(begin, end, worker);
  });
}

void Workers::ForEach(int64_t count, bool serial,
                      absl::FunctionRef<void(int64_t, int)> body) const {
  if (serial || count <= 1 || count_ == 1) {
    for (int64_t index = 0; index < count; ++index) body(index, 0);
    return;
  }
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  };
  absl::FixedArray<Share, 64> shares(count_);  // on the stack, but for more workers than that
  for (int worker = 0; worker < count_; ++worker) {
    shares[worker].next = count * worker / count_;
    shares[worker].end = count * (worker + 1) / count_;
  }
  Run([&](int worker) {
    for (int n = 0; n < count_; ++n) {
      Share& share = shares[(worker + n) % count_];
      for (int64_t index;
           (index = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        body(index, worker);
      }
    }
  });
}

void Workers::ReserveScratch(int64_t size_bytes_per_worker) {
  if (size_bytes_per_worker <= scratch_bytes_) return;
  scratch_bytes_ = 0;
  for (AlignedMemory& memory : scratch_) {
    memory = AllocateAligned(size_bytes_per_worker);
    if (memory == nullptr) throw std::bad_alloc();
  }
  scratch_bytes_ = size_bytes_per_worker;
}

}  // namespace deltaserve::cpu
