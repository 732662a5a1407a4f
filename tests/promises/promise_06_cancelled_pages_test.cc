// Promise 6: a cancelled request's pages are free within two steps.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Promise06, PagesAreFreeWithinTwoSteps) {
  TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_cc_ec")});
  GenerateRequest large = SampledRequest(std::vector<int32_t>(40, 7), 100, 1);
  large.id = 1;
  large.n = 4;
  bool cancelled = false;
  const auto sink = engine.Submit(large, [&](int32_t sample, int64_t num_tokens) {
    if (sample == 0 && num_tokens == 9) {
      cancelled = true;
      engine.loop().Cancel(1);
    }
  });
  // One page; it sees the cache as it was after the step before.
  std::vector<int64_t> pages_since;
  const auto other = engine.Submit(GreedyRequest({1}, 14), [&](int32_t, int64_t) {
    if (cancelled) pages_since.push_back(engine.observer().load("ddl_cc_ec").pages_used);
  });
  engine.Finish();
  EXPECT_EQ(sink->status().code(), absl::StatusCode::kCancelled);
  ASSERT_GE(pages_since.size(), 3u);
  EXPECT_GT(pages_since[0], 4);  // before the step in which it was cancelled
  EXPECT_EQ(pages_since[2], 1);
}

}  // namespace
}  // namespace deltaserve
