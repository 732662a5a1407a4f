#include "server/service/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "tests/support/fake_health_service.h"

namespace deltaserve {
namespace {

TEST(WatchdogTest, HealthFollowsTheEngine) {
  FakeHealthService service;
  Health health(&service, {"m"});
  std::atomic<bool> well = true;
  std::vector<bool> changes;  // the watchdog's, until it is gone
  {
    Watchdog watchdog(
        &health, absl::Milliseconds(1), [&well] { return well.load(); },
        [&changes](bool now_well) { changes.push_back(now_well); });
    service.Await(true);
    well = false;
    service.Await(false);
    well = true;
    service.Await(true);
  }
  EXPECT_THAT(changes, testing::ElementsAre(false, true));
}

}  // namespace
}  // namespace deltaserve
