#include "server/service/call_record.h"

#include <gtest/gtest.h>

namespace deltaserve {
namespace {

using WallTime = std::chrono::system_clock::time_point;

TEST(SteadyDeadlineTest, KeepsTheTimeLeft) {
  const WallTime now(std::chrono::hours(100));
  EXPECT_EQ(SteadyDeadline(now + std::chrono::milliseconds(250), now, 7), 250'000'007);
}

TEST(SteadyDeadlineTest, MayLieInThePast) {
  const WallTime now(std::chrono::hours(100));
  EXPECT_EQ(SteadyDeadline(now - std::chrono::nanoseconds(5), now, 7), 2);
}

TEST(SteadyDeadlineTest, FarAwayIsNever) {
  const WallTime now(std::chrono::hours(100));
  EXPECT_EQ(SteadyDeadline(WallTime::max(), now, 7), kNoDeadline);
  EXPECT_EQ(SteadyDeadline(now + std::chrono::hours(24 * 4000), now, 7), kNoDeadline);
}

}  // namespace
}  // namespace deltaserve
