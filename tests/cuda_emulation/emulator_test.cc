// The emulation itself: what CUDA promises a kernel, and what it forbids.
#include "tests/cuda_emulation/emulator.h"

#include <cuda_runtime.h>

#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/device.cuh"

namespace deltaserve::cuda_emulation {
namespace {

class EmulatorTest : public testing::TestWithParam<Order> {
 protected:
  void SetUp() override { SetOrder(GetParam()); }
  void TearDown() override { SetOrder(Order::kForward); }
};

TEST_P(EmulatorTest, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(3 * 2 * 2 * 64);
  RunGrid({3, 2, 2}, {64, 1, 1}, 0, [&] {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    ++runs[block * blockDim.x + threadIdx.x];
  });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST_P(EmulatorTest, ABarrierLetsAllSeeWhatAllWrote) {
  constexpr unsigned kThreads = 96;
  std::vector<unsigned> seen(kThreads);
  RunGrid({2, 1, 1}, {kThreads, 1, 1}, kThreads * sizeof(unsigned), [&] {
    auto* shared = reinterpret_cast<unsigned*>(cuda::SharedMemory());
    for (unsigned round = 0; round < 3; ++round) {
      shared[threadIdx.x] = threadIdx.x + round;
      __syncthreads();
      seen[threadIdx.x] = shared[(threadIdx.x + 37) % kThreads];
      __syncthreads();
    }
  });
  for (unsigned n = 0; n < kThreads; ++n) EXPECT_EQ(seen[n], (n + 37) % kThreads + 2);
}

TEST_P(EmulatorTest, WarpsShuffleAmongThemselves) {
  std::vector<int> up(64), pairs(64);
  std::vector<unsigned> ballots(64);
  RunGrid({1, 1, 1}, {64, 1, 1}, 0, [&] {
    const int thread = static_cast<int>(threadIdx.x);
    up[thread] = __shfl_up_sync(cuda::kAllLanes, thread, 1);
    pairs[thread] = __shfl_xor_sync(cuda::kAllLanes, thread, 1);
    ballots[thread] = __ballot_sync(cuda::kAllLanes, thread % 3 == 0);
  });
  for (int n = 0; n < 64; ++n) {
    EXPECT_EQ(up[n], n % 32 == 0 ? n : n - 1);
    EXPECT_EQ(pairs[n], n ^ 1);
    EXPECT_EQ(ballots[n], n < 32 ? 0x49249249u : 0x92492492u);
  }
}

TEST_P(EmulatorTest, BlockSum) {
  std::vector<float> first(128), second(128);
  RunGrid({1, 1, 1}, {128, 1, 1}, 0, [&] {
    const float n = static_cast<float>(threadIdx.x);
    float sums[2] = {n, 2 * n};
    cuda::BlockSum(sums);
    first[threadIdx.x] = sums[0];
    second[threadIdx.x] = sums[1];
  });
  EXPECT_EQ(first, std::vector<float>(128, 8128));
  EXPECT_EQ(second, std::vector<float>(128, 16256));
}

INSTANTIATE_TEST_SUITE_P(Orders, EmulatorTest,
                         testing::Values(Order::kForward, Order::kBackward, Order::kShuffled));

TEST(EmulatorDeathTest, NamesWhatHangsAGpu) {
  EXPECT_DEATH(RunGrid({1, 1, 1}, {64, 1, 1}, 0,
                       [] {
                         if (threadIdx.x < 40) __syncthreads();
                       }),
               "a barrier that not all threads of the block reach");
  EXPECT_DEATH(RunGrid({1, 1, 1}, {64, 1, 1}, 0,
                       [] {
                         if (threadIdx.x < 40) __syncwarp();
                       }),
               "a warp operation that not all lanes take part in");
  EXPECT_DEATH(RunGrid({1, 1, 1}, {33, 1, 1}, 0, [] {}), "whole warps");
  EXPECT_DEATH(RunGrid({1, 1, 1}, {32, 1, 1}, 1 << 20, [] {}), "shared memory");
}

}  // namespace
}  // namespace deltaserve::cuda_emulation
