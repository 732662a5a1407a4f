#include "kernels/cpu/workers.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace deltaserve::cpu {
namespace {

TEST(WorkersTest, EveryIndexIsDoneOnce) {
  for (const int threads : {1, 2, 3}) {
    const Workers workers(threads);
    for (const int64_t count : {0, 1, 2, 5, 64}) {
      std::vector<std::atomic<int>> times(count);
      workers.ForEach(count, /*serial=*/false, [&](int64_t index, int) { ++times[index]; });
      for (const std::atomic<int>& n : times) EXPECT_EQ(n, 1);
    }
  }
}

TEST(WorkersTest, RangesAreThoseOfTheOwners) {
  const Workers workers(3);
  for (const int64_t count : {3, 7, 32}) {
    std::vector<int> taken_by(count, -1);
    workers.ForRanges(count, /*grain=*/1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t index = begin; index < end; ++index) taken_by[index] = worker;
    });
    for (int64_t index = 0; index < count; ++index) {
      EXPECT_EQ(taken_by[index], workers.OwnerOf(index, count)) << index << " of " << count;
    }
  }
}

TEST(WorkersTest, WhatASlowWorkerLeavesOthersDo) {
  const Workers workers(2);
  constexpr int64_t kCount = 8;
  std::atomic<int> done = 0;
  workers.ForEach(kCount, /*serial=*/false, [&](int64_t index, int) {
    // The first of one worker's share ends once all others are done.
    while (index == 0 && done < kCount - 1) continue;
    ++done;
  });
  EXPECT_EQ(done, kCount);
}

TEST(WorkersTest, AReleasedThreadMayCallAgain) {
  const Workers workers(3);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int64_t> done = 0;
    workers.ForRanges(300, /*grain=*/1,
                      [&](int64_t begin, int64_t end, int) { done += end - begin; });
    EXPECT_EQ(done, 300);
    Workers::ReleaseThread();
  }
}

}  // namespace
}  // namespace deltaserve::cpu
