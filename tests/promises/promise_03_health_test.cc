// Promise 3: health tells the truth, NOT_SERVING within seconds when steps stall.
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "server/service/watchdog.h"
#include "tests/promises/hanging_backend.h"
#include "tests/support/failing_backend.h"
#include "tests/support/fake_health_service.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

TEST(Promise03, HealthFollowsTheSteps) {
  auto owned = std::make_unique<HangingBackend>();
  HangingBackend& backend = *owned;
  TestEngine engine(std::move(owned), {GoldenLane("ddl_cc")});
  EngineLoop& loop = engine.loop();
  FakeHealthService service;
  Health health(&service, {"ddl_cc"});
  const SteadyNs limit = 5'000'000'000;
  const Watchdog watchdog(
      &health, absl::Milliseconds(1),
      [&loop] { return loop.status().ok() && loop.StalledFor() < limit; }, [](bool) {});

  backend.HangAfter(0);
  const auto sink = engine.Submit(GreedyRequest({1, 2, 3}, 4));
  loop.Start();
  backend.AwaitHanging();
  EXPECT_EQ(loop.StalledFor(), 0);
  engine.clock().Advance(limit - 1);
  EXPECT_EQ(loop.StalledFor(), limit - 1);
  service.Await(true);
  engine.clock().Advance(1);
  service.Await(false);

  backend.Release();
  EXPECT_TRUE(sink->status().ok());
  service.Await(true);
  EXPECT_TRUE(loop.WaitUntilIdle(absl::InfiniteDuration()));
  engine.clock().Advance(100 * limit);  // idle is not stalled
  EXPECT_EQ(loop.StalledFor(), 0);
}

// A lost device is lost for good.
TEST(Promise03, HealthFollowsTheDevice) {
  auto owned = std::make_unique<FailingBackend>();
  FailingBackend& backend = *owned;
  TestEngine engine(std::move(owned), {GoldenLane("ddl_cc")});
  EngineLoop& loop = engine.loop();
  FakeHealthService service;
  Health health(&service, {"ddl_cc"});
  const Watchdog watchdog(
      &health, absl::Milliseconds(1), [&loop] { return loop.status().ok(); }, [](bool) {});
  EXPECT_TRUE(engine.Run(GreedyRequest({1, 2, 3}, 4))->status().ok());
  service.Await(true);

  backend.FailAfter(2);
  EXPECT_EQ(engine.Run(GreedyRequest({1, 2, 3}, 40))->status().code(),
            absl::StatusCode::kUnavailable);
  service.Await(false);
  EXPECT_EQ(engine.TrySubmit(GreedyRequest({1}, 1), std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace deltaserve
