// Promise 7: a long prefill never stops others' decoding for longer than one chunk.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Promise07, OthersDecodeBesideALongPrefill) {
  LaneOptions lane = GoldenLane("ddl_tc_ec");
  lane.max_batch_tokens = 20;
  TestEngine engine(MakeReferenceBackend(), {lane});
  std::shared_ptr<RecordingSink> long_prompt;
  for (int32_t i = 0; i < 3; ++i) {
    engine.Submit(GreedyRequest({i}, 30), [&, i](int32_t, int64_t num_tokens) {
      if (i != 0 || num_tokens != 5) return;
      long_prompt = engine.Submit(GreedyRequest(std::vector<int32_t>(200, 9), 1));
    });
  }
  engine.Finish();
  EXPECT_TRUE(long_prompt->status().ok());
  int64_t chunks = 0;
  int64_t prefilled = 0;
  for (const RecordingStepObserver::Step& step : engine.observer().steps()) {
    EXPECT_LE(step.stats.prefill_tokens + step.stats.decode_tokens, lane.max_batch_tokens);
    if (step.stats.prefill_tokens == 0 || step.stats.decode_tokens == 0) continue;
    ++chunks;
    prefilled += step.stats.prefill_tokens;
    EXPECT_EQ(step.stats.decode_tokens, 3);
  }
  EXPECT_EQ(prefilled, 200);
  EXPECT_EQ(chunks, 12);  // of 17 tokens, beside three that decode
}

}  // namespace
}  // namespace deltaserve
