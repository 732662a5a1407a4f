#include "server/service/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "server/api/mutex.h"

namespace deltaserve {
namespace {

// Remembers the last status set for all services. Thread-safe.
class FakeHealthService final : public grpc::HealthCheckServiceInterface {
 public:
  void SetServingStatus(const std::string&, bool serving) override { SetServingStatus(serving); }
  void SetServingStatus(bool serving) override {
    MutexLock lock(&mutex_);
    serving_ = serving;
    changed_.NotifyAll();
  }
  void Await(bool serving) {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_, [this, serving] { return serving_ == serving; });
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool serving_ = false;
};

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
