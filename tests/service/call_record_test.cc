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

constexpr SteadyNs kSecond = 1'000'000'000;

// A caller whose deadline passes cancels; that is still no cancellation.
TEST(PassedDeadlineTest, AtTheDeadlineAndShortlyBefore) {
  const SteadyNs received = 5 * kSecond;
  const SteadyNs deadline = received + 10 * kSecond;
  EXPECT_TRUE(PassedDeadline(deadline + 1, received, deadline));
  EXPECT_TRUE(PassedDeadline(deadline, received, deadline));
  EXPECT_TRUE(PassedDeadline(deadline - kSecond / 10, received, deadline));  // 1 % of the time
  EXPECT_FALSE(PassedDeadline(deadline - kSecond / 8, received, deadline));
  EXPECT_FALSE(PassedDeadline(received, received, deadline));
}

TEST(PassedDeadlineTest, WithoutADeadlineNoneHasPassed) {
  EXPECT_FALSE(PassedDeadline(kNoDeadline - 1, 0, kNoDeadline));
}

}  // namespace
}  // namespace deltaserve
