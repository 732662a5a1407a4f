// Promise 10: memory does not grow with the number of requests served.
#include <malloc.h>

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/metered_queue.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

// As many of each: finished, cancelled, late, scored, forked.
void Serve(RequestQueue& queue, EngineLoop& loop, const Clock& clock, int rounds) {
  RequestId id = 0;
  const auto submit = [&](auto request) {
    request.id = ++id;
    request.model = "additive-odd";
    EXPECT_TRUE(queue.Submit(std::move(request), std::make_shared<RecordingSink>()).ok());
  };
  for (int round = 0; round < rounds; ++round) {
    submit(SampledRequest({1, 2, 3}, 3, round));
    GenerateRequest samples = SampledRequest({4, 5}, 2, round);
    samples.n = 3;
    submit(samples);
    GenerateRequest late = SampledRequest({6}, 50, round);
    late.deadline = clock.Now();
    submit(late);
    submit(SampledRequest({7}, 100, round));
    queue.Cancel(id);
    ScoreRequest score = SequenceRequest({8, 9, 10});
    score.continuations = {{1}, {2, 3}};
    submit(score);
    EXPECT_TRUE(loop.WaitUntilIdle(absl::InfiniteDuration()));
  }
}

TEST(Promise10, MemoryDoesNotGrowWithRequests) {
  const auto backend = MakeReferenceBackend();
  std::vector<std::unique_ptr<ModelLane>> lanes;
  lanes.push_back(*ModelLane::Load(*backend, GoldenLane("additive-odd")));
  const ManualClock clock;
  NoEnergyCounter energy;
  CostMeter meter({}, energy, clock.Now());
  EngineLoop loop(std::move(lanes), clock, meter, /*max_queued=*/100);
  MeteredQueue queue(loop, meter);
  loop.Start();
  Serve(queue, loop, clock, 40);
  const size_t after_few = mallinfo2().uordblks;
  Serve(queue, loop, clock, 360);
  const size_t after_many = mallinfo2().uordblks;
  // Less than a byte for each of the 1800 requests, and the odd block that was under way.
  EXPECT_LT(after_many, after_few + 1800);
}

}  // namespace
}  // namespace deltaserve
