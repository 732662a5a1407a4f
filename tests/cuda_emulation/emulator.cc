#include "tests/cuda_emulation/emulator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "tests/cuda_emulation/fiber.h"

constinit thread_local deltaserve::cuda_emulation::Index3 threadIdx, blockIdx;
constinit thread_local deltaserve::cuda_emulation::Size3 blockDim, gridDim;

namespace deltaserve::cuda_emulation {
namespace {

constexpr uint64_t kMaxBlockThreads = 1024;
constexpr size_t kMaxSharedBytes = 227 << 10;  // of one block on compute capability 9.0

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "cuda_emulation: %s\n", what);
  std::abort();
}

// Lanes that exchange values. Twice the room, because the first lane may give its next value while
// the last one still reads.
struct Warp {
  uint64_t values[2][kWarpThreads];
  int arrived = 0;
  uint64_t generation = 0;
};

struct Barrier {
  int arrived = 0;
  int said_true = 0;
  int result = 0;
  uint64_t generation = 0;
};

struct Thread {
  Fiber fiber;
  Index3 index;
  int lane = 0;
  Warp* warp = nullptr;
  bool done = false;
  // What it waits for: that a generation moves on.
  const uint64_t* awaited = nullptr;
  uint64_t awaited_generation = 0;

  bool ready() const { return awaited == nullptr || *awaited != awaited_generation; }
  void WaitFor(const uint64_t* generation) {
    awaited = generation;
    awaited_generation = *generation;
    fiber.Suspend();
    awaited = nullptr;
  }
};

Order OrderOfEnvironment() {
  const char* name = std::getenv("DELTASERVE_EMULATION_ORDER");
  const std::string_view order = name != nullptr ? name : "forward";
  if (order == "forward") return Order::kForward;
  if (order == "backward") return Order::kBackward;
  if (order == "shuffled") return Order::kShuffled;
  Fail("DELTASERVE_EMULATION_ORDER is none of forward, backward, shuffled");
}

class Device {
 public:
  void set_order(Order order) { order_ = order; }
  const Thread& running() const { return *running_; }
  void* shared() const { return shared_; }

  void RunGrid(Size3 grid, Size3 block, size_t shared_bytes, const std::function<void()>& kernel) {
    const uint64_t num_threads = block.count();
    if (grid.count() == 0) Fail("a grid without blocks");
    if (grid.y > 65535 || grid.z > 65535) Fail("a grid is too large in y or z");
    if (num_threads == 0 || num_threads > kMaxBlockThreads) Fail("a block of too many threads");
    if (num_threads % kWarpThreads != 0) Fail("a block that is not of whole warps");
    if (shared_bytes > kMaxSharedBytes) Fail("a block has too little shared memory for that");
    if (running_ != nullptr) Fail("a kernel launched by a kernel");

    kernel_ = &kernel;
    while (threads_.size() < num_threads) threads_.push_back(std::make_unique<Thread>());
    warps_.assign(num_threads / kWarpThreads, Warp());
    const std::unique_ptr<char, decltype(&std::free)> shared(
        static_cast<char*>(std::aligned_alloc(128, (shared_bytes + 127) / 128 * 128 + 128)),
        &std::free);
    for (const uint64_t n : Permutation(grid.count())) {
      // Bytes of 0xff are NaN as floats.
      std::memset(shared.get(), 0xff, shared_bytes);
      const Index3 index = {static_cast<unsigned>(n % grid.x),
                            static_cast<unsigned>(n / grid.x % grid.y),
                            static_cast<unsigned>(n / grid.x / grid.y)};
      gridDim = grid;
      blockDim = block;
      blockIdx = index;
      shared_ = shared.get();
      RunBlock(static_cast<int>(num_threads));
    }
    kernel_ = nullptr;
  }

  int SyncThreads(bool predicate) {
    ++barrier_.arrived;
    barrier_.said_true += predicate;
    if (barrier_.arrived == block_threads_) {
      barrier_.result = barrier_.said_true;
      barrier_.arrived = barrier_.said_true = 0;
      ++barrier_.generation;
    } else {
      running_->WaitFor(&barrier_.generation);
    }
    return barrier_.result;
  }

  const uint64_t* Exchange(uint32_t mask, uint64_t value) {
    if (mask != ~uint32_t{0}) Fail("a warp operation that names only some of the lanes");
    Warp& warp = *running_->warp;
    uint64_t* values = warp.values[warp.generation % 2];
    values[running_->lane] = value;
    if (++warp.arrived == kWarpThreads) {
      warp.arrived = 0;
      ++warp.generation;
    } else {
      running_->WaitFor(&warp.generation);
    }
    return values;
  }

 private:
  static void RunKernel(void* device) { (*static_cast<Device*>(device)->kernel_)(); }

  std::vector<uint64_t> Permutation(uint64_t count) {
    std::vector<uint64_t> order(count);
    std::iota(order.begin(), order.end(), uint64_t{0});
    if (order_ == Order::kBackward) std::reverse(order.begin(), order.end());
    if (order_ == Order::kShuffled) std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  void RunBlock(int num_threads) {
    block_threads_ = num_threads;
    barrier_ = Barrier();
    for (int n = 0; n < block_threads_; ++n) {
      Thread& thread = *threads_[n];
      const unsigned id = static_cast<unsigned>(n);
      thread.index = {id % blockDim.x, id / blockDim.x % blockDim.y, id / blockDim.x / blockDim.y};
      thread.lane = n % kWarpThreads;
      thread.warp = &warps_[n / kWarpThreads];
      *thread.warp = Warp();
      thread.done = false;
      thread.awaited = nullptr;
      thread.fiber.Start(&RunKernel, this);
    }
    const std::vector<uint64_t> order = Permutation(block_threads_);
    int left = block_threads_;
    while (left > 0) {
      bool progress = false;
      for (const uint64_t n : order) {
        Thread& thread = *threads_[n];
        if (thread.done || !thread.ready()) continue;
        progress = true;
        running_ = &thread;
        threadIdx = thread.index;
        thread.done = thread.fiber.Resume();
        running_ = nullptr;
        left -= thread.done;
      }
      if (!progress) {
        Fail(barrier_.arrived > 0 ? "a barrier that not all threads of the block reach"
                                  : "a warp operation that not all lanes take part in");
      }
    }
  }

  Order order_ = OrderOfEnvironment();
  std::mt19937 random_{1};
  const std::function<void()>* kernel_ = nullptr;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  Barrier barrier_;
  int block_threads_ = 0;
  void* shared_ = nullptr;
  Thread* running_ = nullptr;
};

// threadIdx and its like are global names in CUDA.
Device& ThisDevice() {
  thread_local Device device;
  return device;
}

}  // namespace

void SetOrder(Order order) { ThisDevice().set_order(order); }

void RunGrid(Size3 grid, Size3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  ThisDevice().RunGrid(grid, block, shared_bytes, kernel);
}

int Lane() { return ThisDevice().running().lane; }
void* SharedMemory() { return ThisDevice().shared(); }
int SyncThreads(bool predicate) { return ThisDevice().SyncThreads(predicate); }
const uint64_t* Exchange(uint32_t mask, uint64_t value) {
  return ThisDevice().Exchange(mask, value);
}

}  // namespace deltaserve::cuda_emulation
