#include "server/fleet_health.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace deltaserve {
namespace {

constexpr SteadyNs kLimit = 5'000'000'000;

class FleetHealthTest : public testing::Test {
 protected:
  FleetHealthTest() { log_.set_pattern("%l %v"); }

  // What has been logged since it was last asked.
  std::string TakeLog() {
    std::string text = text_.str();
    text_.str("");
    return text;
  }

  std::ostringstream text_;
  spdlog::logger log_{"test", std::make_shared<spdlog::sinks::ostream_sink_st>(text_)};
  std::vector<DeviceState> devices_{2};
  FleetHealth health_{[this] { return devices_; }, absl::Nanoseconds(kLimit), log_};
};

TEST_F(FleetHealthTest, OneDeviceIsEnough) {
  EXPECT_TRUE(health_.IsWell());
  devices_[1].status = absl::UnavailableError("fell off the bus");
  EXPECT_TRUE(health_.IsWell());
  devices_[0].status = absl::UnavailableError("too");
  EXPECT_FALSE(health_.IsWell());
}

TEST_F(FleetHealthTest, AStalledDeviceIsOneTooMany) {
  devices_[0].stalled_for = kLimit - 1;
  EXPECT_TRUE(health_.IsWell());
  devices_[0].stalled_for = kLimit;
  EXPECT_FALSE(health_.IsWell());
  devices_[0].status = absl::UnavailableError("lost in the stall");
  EXPECT_TRUE(health_.IsWell());
}

TEST_F(FleetHealthTest, ALossIsLoggedOnce) {
  EXPECT_TRUE(health_.Watch());
  EXPECT_EQ(TakeLog(), "");
  devices_[1].status = absl::UnavailableError("fell off the bus");
  EXPECT_TRUE(health_.Watch());
  EXPECT_EQ(TakeLog(), "error device 2 of 2: fell off the bus\n");
  devices_[0].status = absl::UnavailableError("too");
  EXPECT_FALSE(health_.Watch());
  EXPECT_EQ(TakeLog(), "error device 1 of 2: too\n");
  EXPECT_FALSE(health_.Watch());
  EXPECT_EQ(TakeLog(), "");
}

TEST_F(FleetHealthTest, AChangeIsLoggedWithItsReason) {
  devices_[0].stalled_for = kLimit;
  health_.LogChange(false);
  EXPECT_EQ(TakeLog(), "error NOT_SERVING: steps have stalled\n");
  health_.LogChange(true);
  EXPECT_EQ(TakeLog(), "info steps go on: SERVING\n");
  for (DeviceState& device : devices_) device.status = absl::UnavailableError("gone");
  health_.LogChange(false);
  EXPECT_EQ(TakeLog(), "error NOT_SERVING: no device is left\n");
}

}  // namespace
}  // namespace deltaserve
