#include "server/service/rate_limiter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/api/retry_hint.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

constexpr SteadyNs kSecond = 1'000'000'000;

class SetClock final : public Clock {
 public:
  SteadyNs Now() const override { return now; }
  SteadyNs now = 1000 * kSecond;
};

class RateLimiterTest : public testing::Test {
 protected:
  SetClock clock_;
  RateLimiter limiter_{&clock_};
};

TEST_F(RateLimiterTest, AMinutesRequestsAtOnceThenAsTheyCome) {
  const Tenant acme = {.name = "acme", .requests_per_minute = 30};
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(limiter_.Admit(acme, 1).ok());
  const absl::Status refused = limiter_.Admit(acme, 1);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(refused.message(), "request: the tenant's rate is 30 requests a minute");
  EXPECT_EQ(RetryHintOf(refused), absl::Seconds(2));
  clock_.now += 2 * kSecond - 1;
  EXPECT_EQ(RetryHintOf(limiter_.Admit(acme, 1)), absl::Nanoseconds(1));
  clock_.now += 1;
  EXPECT_TRUE(limiter_.Admit(acme, 1).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 1).ok());
  clock_.now += 3600 * kSecond;
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(limiter_.Admit(acme, 1).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 1).ok());
}

TEST_F(RateLimiterTest, TokensThatWereNotTakenComeBack) {
  const Tenant acme = {.name = "acme", .tokens_per_minute = 600};
  ASSERT_TRUE(limiter_.Admit(acme, 500).ok());
  const absl::Status refused = limiter_.Admit(acme, 200);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("200 tokens: the tenant's rate is 600"));
  EXPECT_EQ(RetryHintOf(refused), absl::Seconds(10));
  limiter_.GiveBack(acme, 400);
  EXPECT_TRUE(limiter_.Admit(acme, 500).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 1).ok());
}

TEST_F(RateLimiterTest, WaitingDoesNotHelpWhatIsMoreThanAMinutes) {
  const Tenant acme = {.name = "acme", .tokens_per_minute = 600};
  EXPECT_EQ(RetryHintOf(limiter_.Admit(acme, 601)), absl::InfiniteDuration());
}

TEST_F(RateLimiterTest, WhatIsRefusedTakesNothing) {
  const Tenant acme = {.name = "acme", .requests_per_minute = 1, .tokens_per_minute = 100};
  ASSERT_TRUE(limiter_.Admit(acme, 40).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 40).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 80).ok());
  const Tenant more = {.name = "acme", .requests_per_minute = 60, .tokens_per_minute = 100};
  clock_.now += kSecond;
  EXPECT_TRUE(limiter_.Admit(more, 60).ok());
}

TEST_F(RateLimiterTest, TenantsHaveBucketsOfTheirOwn) {
  const Tenant acme = {.name = "acme", .requests_per_minute = 1};
  const Tenant brand = {.name = "brand", .requests_per_minute = 1};
  EXPECT_TRUE(limiter_.Admit(acme, 1).ok());
  EXPECT_TRUE(limiter_.Admit(brand, 1).ok());
  EXPECT_FALSE(limiter_.Admit(acme, 1).ok());
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(limiter_.Admit({.name = "free"}, 1 << 20).ok());
}

}  // namespace
}  // namespace deltaserve
