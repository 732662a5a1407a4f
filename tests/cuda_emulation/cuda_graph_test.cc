// That the decode steps of a model become graphs: from the second on they are the same commands,
// word for word, and what changes is in memory that they read.
#include <vector>

#include "gtest/gtest.h"
#include "tests/cuda_emulation/runtime.h"
#include "tests/gpu/cuda_device.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

TEST(CudaGraphTest, DecodeStepsOfEveryKindAreGraphs) {
  for (const std::filesystem::path& dir : GoldenFixtureDirs()) {
    SCOPED_TRACE(dir.filename());
    const auto harness = ModelHarness::Load(MakeCuda(kFast), dir, DType::kBF16, 64);
    ASSERT_TRUE(harness.ok()) << harness.status();
    const int64_t before = cuda_emulation::NumGraphLaunches();
    (*harness)->Greedy({1, 2, 3}, 10);
    // One prefill, one decode step to know the list, one under capture, which runs as a graph too.
    EXPECT_EQ(cuda_emulation::NumGraphLaunches() - before, 8);
  }
}

}  // namespace
}  // namespace deltaserve
