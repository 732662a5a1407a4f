// The threads of the CPU backend, the scratch memory each of them has, and what they read ahead.
#ifndef DELTASERVE_KERNELS_CPU_WORKERS_H_
#define DELTASERVE_KERNELS_CPU_WORKERS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/read_ahead.h"

namespace deltaserve::cpu {

// A fixed number of OpenMP threads (oneDNN's own, so that they never compete), used by one thread
// at a time: the caller is worker 0. A body must not throw and must not start work of its own.
// Which worker takes which piece may vary; no result may depend on it.
class Workers {
 public:
  // 0: as many as there are processors.
  explicit Workers(int num_threads);

  int count() const { return count_; }

  // Calls body(begin, end, worker) for contiguous ranges that make up [0, count). Waking a thread
  // costs about as much as `grain` items, so a range is at least that long.
  void ForRanges(int64_t count, int64_t grain,
                 absl::FunctionRef<void(int64_t begin, int64_t end, int worker)> body) const;

  // Calls body(index, worker) for every index of [0, count), for items that differ much in cost: a
  // worker takes its own share in order, one at a time, then what others have left of theirs. With
  // `serial`, the caller does them all.
  void ForEach(int64_t count, bool serial,
               absl::FunctionRef<void(int64_t index, int worker)> body) const;

  // The worker that takes `index` of [0, count) unless another is done before it: the one whose
  // caches should have what that piece needs. Processors need not share a last-level cache.
  int OwnerOf(int64_t index, int64_t count) const {
    return static_cast<int>(((index + 1) * count_ - 1) / count);
  }

  // Ends the threads that work for the calling one. libgomp keeps some for every thread that ever
  // called, and once those of all callers are more than the processors, who waits for work no
  // longer spins but sleeps: dozens of times in a step.
  static void ReleaseThread();

  // Gives every worker at least so much scratch memory; call it outside of a body. Earlier scratch
  // pointers become invalid. Throws std::bad_alloc.
  void ReserveScratch(int64_t size_bytes_per_worker);
  ReadAhead& read_ahead() { return read_ahead_; }
  // Aligned to 64 bytes; its content is whatever was left there.
  template <typename T>
  T* Scratch(int worker) const {
    return static_cast<T*>(scratch_[worker].get());
  }

 private:
  void Run(absl::FunctionRef<void(int worker)> body) const;

  int count_;
  int64_t scratch_bytes_ = 0;
  std::vector<AlignedMemory> scratch_;
  ReadAhead read_ahead_;
};

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_WORKERS_H_
