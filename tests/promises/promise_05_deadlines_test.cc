// Promise 5: client deadlines are honoured while queued and while running.
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

constexpr absl::StatusCode kDeadlineExceeded = absl::StatusCode::kDeadlineExceeded;

TEST(Promise05, DeadlinesWhileQueuedAndWhileRunning) {
  LaneOptions lane = GoldenLane("ddl_tc");
  lane.max_sequences = 1;
  TestEngine engine(MakeReferenceBackend(), {lane});
  const SteadyNs start = engine.clock().Now();
  GenerateRequest runs = GreedyRequest({1, 2, 3}, 100);
  runs.deadline = start + 50;
  GenerateRequest waits = GreedyRequest({1, 2, 3}, 100);
  waits.deadline = start + 20;  // behind the other
  const auto running = engine.Submit(runs, [&](int32_t, int64_t) { engine.clock().Advance(10); });
  const auto queued = engine.Submit(waits);
  const auto patient = engine.Submit(GreedyRequest({1, 2, 3}, 2));
  engine.Finish();
  EXPECT_EQ(queued->status().code(), kDeadlineExceeded);
  EXPECT_EQ(queued->usage().total_ns, 20);
  EXPECT_TRUE(queued->sample().tokens.empty());
  EXPECT_EQ(running->status().code(), kDeadlineExceeded);
  EXPECT_EQ(running->usage().total_ns, 50);
  EXPECT_EQ(running->sample().tokens.size(), 5u);
  EXPECT_TRUE(patient->status().ok());
}

}  // namespace
}  // namespace deltaserve
