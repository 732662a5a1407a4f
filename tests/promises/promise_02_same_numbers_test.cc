// Promise 2: chunked, batched or preempted, the numbers are those of a lone cold run.
// tests/invariants has it in full, for every kind and instruction set of the CPU backend.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Promise02, TheNumbersAreThoseOfALoneColdRun) {
  std::vector<GenerateRequest> requests;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    requests.push_back(
        SampledRequest(std::vector<int32_t>(1 + 4 * seed, static_cast<int32_t>(seed)), 20, seed));
    requests.back().logprobs = 0;
  }
  LaneOptions lane = GoldenLane("ddl_cc_ec");
  lane.max_batch_tokens = 20;
  lane.kv_cache_tokens = 128;
  TestEngine busy(MakeReferenceBackend(), {lane});
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const GenerateRequest& request : requests) sinks.push_back(busy.Submit(request));
  busy.Finish();
  EXPECT_GT(busy.observer().num_preemptions(), 0);

  for (size_t i = 0; i < requests.size(); ++i) {
    TestEngine cold(MakeReferenceBackend(), {GoldenLane("ddl_cc_ec")});
    const auto alone = cold.Run(requests[i]);
    EXPECT_EQ(sinks[i]->sample().ids(), alone->sample().ids());
    EXPECT_EQ(sinks[i]->sample().logprobs(), alone->sample().logprobs());
  }
}

}  // namespace
}  // namespace deltaserve
