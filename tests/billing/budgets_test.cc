#include "server/billing/budgets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/api/retry_hint.h"
#include "tests/billing/records.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Picodollars kUsd = 1'000'000'000'000;

Tenant WithBudget(Picodollars limit, Budget::Period period = Budget::Period::kTotal) {
  return {.name = "acme", .budget = Budget{limit, period}};
}

TEST(BudgetsTest, ReservesAndSettles) {
  Budgets budgets;
  const Tenant acme = WithBudget(100);
  const absl::Time now = NoonOf(kDay);
  ASSERT_TRUE(budgets.Reserve(acme, 60, now).ok());
  EXPECT_FALSE(budgets.Reserve(acme, 41, now).ok());
  ASSERT_TRUE(budgets.Reserve(acme, 40, now).ok());
  EXPECT_FALSE(budgets.Reserve(acme, 1, now).ok());
  budgets.Settle("acme", kDay, 60, 10);
  EXPECT_EQ(budgets.BalanceOf(acme, now).billed, 10);
  EXPECT_EQ(budgets.BalanceOf(acme, now).reserved, 40);
  EXPECT_TRUE(budgets.Reserve(acme, 50, now).ok());
  EXPECT_FALSE(budgets.Reserve(acme, 1, now).ok());
}

TEST(BudgetsTest, ARefusalSaysHowMuchIsLeft) {
  Budgets budgets;
  const Tenant acme = WithBudget(2 * kUsd, Budget::Period::kMonth);
  budgets.AddBilled("acme", kDay, 3 * kUsd / 2);
  ASSERT_TRUE(budgets.Reserve(acme, kUsd / 4, NoonOf(kDay)).ok());
  const absl::Status refused = budgets.Reserve(acme, kUsd / 2 + 7000, NoonOf(kDay));
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(refused.message(),
            "budget: of 2 USD a month, 0.25 USD are left; the request may cost up to 0.500000007 "
            "USD; 0.25 USD are reserved for requests under way");
}

TEST(BudgetsTest, ARefusalSaysWhetherWaitingHelps) {
  const absl::Time now = NoonOf(kDay);
  const auto hint = [&](Budget::Period period, Picodollars amount) {
    Budgets budgets;
    budgets.AddBilled("acme", kDay, 50);
    EXPECT_TRUE(budgets.Reserve(WithBudget(100, period), 40, now).ok());
    return RetryHintOf(budgets.Reserve(WithBudget(100, period), amount, now));
  };
  // When those under way have ended; tomorrow; in December; never.
  EXPECT_EQ(hint(Budget::Period::kDay, 50), absl::Seconds(1));
  EXPECT_EQ(hint(Budget::Period::kDay, 51), absl::Hours(12));
  EXPECT_EQ(hint(Budget::Period::kMonth, 51), absl::Hours(12 + 7 * 24));
  EXPECT_EQ(hint(Budget::Period::kTotal, 51), absl::InfiniteDuration());
  EXPECT_EQ(hint(Budget::Period::kDay, 101), absl::InfiniteDuration());
}

TEST(BudgetsTest, PeriodsBeginAnew) {
  for (const Budget::Period period :
       {Budget::Period::kDay, Budget::Period::kMonth, Budget::Period::kTotal}) {
    Budgets budgets;
    const Tenant acme = WithBudget(100, period);
    const auto full = [&](absl::CivilDay day) {
      return !budgets.Reserve(acme, 100, NoonOf(day)).ok();
    };
    budgets.AddBilled("acme", kDay, 1);
    EXPECT_TRUE(full(kDay));
    EXPECT_EQ(full(kDay + 1), period != Budget::Period::kDay);
    EXPECT_EQ(full(absl::CivilDay(2026, 12, 1)), period == Budget::Period::kTotal);
  }
}

// A request is billed to the day on which it began.
TEST(BudgetsTest, ARequestAcrossMidnight) {
  Budgets budgets;
  const Tenant acme = WithBudget(100, Budget::Period::kDay);
  ASSERT_TRUE(budgets.Reserve(acme, 60, NoonOf(kDay)).ok());
  ASSERT_TRUE(budgets.Reserve(acme, 100, NoonOf(kDay + 1)).ok());
  budgets.Settle("acme", kDay, 60, 60);
  EXPECT_EQ(budgets.BalanceOf(acme, NoonOf(kDay)).billed, 60);
  EXPECT_EQ(budgets.BalanceOf(acme, NoonOf(kDay + 1)).billed, 0);
}

TEST(BudgetsTest, AClockThatJumpsBackFindsTheDaysAccount) {
  Budgets budgets;
  const Tenant acme = WithBudget(100, Budget::Period::kDay);
  ASSERT_TRUE(budgets.Reserve(acme, 100, NoonOf(kDay)).ok());
  ASSERT_TRUE(budgets.Reserve(acme, 100, NoonOf(kDay + 400)).ok());
  EXPECT_FALSE(budgets.Reserve(acme, 1, NoonOf(kDay)).ok());
  EXPECT_FALSE(budgets.Reserve(acme, 1, NoonOf(kDay + 400)).ok());
}

TEST(BudgetsTest, ABudgetMayBecomeSmallerThanWhatWasBilled) {
  Budgets budgets;
  budgets.AddBilled("acme", kDay, 500);
  EXPECT_THAT(std::string(budgets.Reserve(WithBudget(100), 1, NoonOf(kDay)).message()),
              HasSubstr("0 USD are left"));
}

TEST(BudgetsTest, ManyAtOnceNeverExceedIt) {
  constexpr Picodollars kLimit = 10'000;
  Budgets budgets;
  const Tenant acme = WithBudget(kLimit);
  const absl::Time now = NoonOf(kDay);
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (int i = 0; i < 500; ++i) {
        const Picodollars amount = 1 + random() % 2000;
        if (!budgets.Reserve(acme, amount, now).ok()) {
          ++refused;
          continue;
        }
        const Budgets::Balance balance = budgets.BalanceOf(acme, now);
        EXPECT_LE(balance.billed + balance.reserved, kLimit);
        budgets.Settle("acme", kDay, amount, random() % (amount + 1) / 20);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(refused, 0);
  const Budgets::Balance balance = budgets.BalanceOf(acme, now);
  EXPECT_EQ(balance.reserved, 0);
  EXPECT_LE(balance.billed, kLimit);
}

}  // namespace
}  // namespace deltaserve
