// Runs a CUDA kernel on the CPU: block after block, thread after thread, each thread a fiber that
// runs until it has to wait for others of its warp or block. What a GPU leaves undefined is an
// error here that ends the process and says what was wrong: a barrier that not all threads of a
// block reach, a shuffle that not all lanes of a warp take part in.
#ifndef DELTASERVE_TESTS_CUDA_EMULATION_EMULATOR_H_
#define DELTASERVE_TESTS_CUDA_EMULATION_EMULATOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace deltaserve::cuda_emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

struct Size3 {
  unsigned x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

inline constexpr int kWarpThreads = 32;

// In which order the threads of a block, and the blocks of a grid, get their turns. A kernel whose
// results depend on it lacks a barrier.
enum class Order { kForward, kBackward, kShuffled };
// Of the calling thread's launches from now on. To begin with, what the environment variable
// DELTASERVE_EMULATION_ORDER says: forward, backward or shuffled; without it, forward.
void SetOrder(Order order);

// Runs `kernel` once for every thread of the grid. Dynamic shared memory is filled with garbage
// before every block.
void RunGrid(Size3 grid, Size3 block, size_t shared_bytes, const std::function<void()>& kernel);

// --- From inside a kernel.

int Lane();
void* SharedMemory();  // dynamic

// Waits for all threads of the block; returns how many of them said true.
int SyncThreads(bool predicate);
// Waits for all lanes of the warp and returns what each of them gave: valid until the lane's next
// exchange but one.
const uint64_t* Exchange(uint32_t mask, uint64_t value);

}  // namespace deltaserve::cuda_emulation

// CUDA's own names, of the thread that runs.
extern constinit thread_local deltaserve::cuda_emulation::Index3 threadIdx, blockIdx;
extern constinit thread_local deltaserve::cuda_emulation::Size3 blockDim, gridDim;

#endif  // DELTASERVE_TESTS_CUDA_EMULATION_EMULATOR_H_
