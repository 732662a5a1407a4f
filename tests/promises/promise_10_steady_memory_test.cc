// Promise 10: memory does not grow with the number of requests served.
#include <malloc.h>

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

class ForgetfulObserver final : public StepObserver {
 public:
  void OnStep(const StepStats&) override {}
  void OnLoad(const ModelLoad&) override {}
};

// As many of each: finished, cancelled, late, scored, forked.
void Serve(EngineLoop& loop, const Clock& clock, int rounds) {
  RequestId id = 0;
  const auto submit = [&](auto request) {
    request.id = ++id;
    request.model = "additive-odd";
    EXPECT_TRUE(loop.Submit(std::move(request), std::make_shared<RecordingSink>()).ok());
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
    loop.Cancel(id);
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
  ForgetfulObserver observer;
  EngineLoop loop(std::move(lanes), clock, observer, /*max_queued=*/100);
  loop.Start();
  Serve(loop, clock, 40);
  const size_t after_few = mallinfo2().uordblks;
  Serve(loop, clock, 360);
  const size_t after_many = mallinfo2().uordblks;
  // Less than a byte for each of the 1800 requests, and the odd block that was under way.
  EXPECT_LT(after_many, after_few + 1800);
}

}  // namespace
}  // namespace deltaserve
