#include "server/telemetry/prices.h"

#include <gtest/gtest.h>

#include <limits>

namespace deltaserve {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;
constexpr int64_t kKwhUj = 3'600'000'000'000;
constexpr Nanodollars kUsd = 1'000'000'000;
constexpr Picodollars kPicoUsd = 1'000'000'000'000;

TEST(PricesTest, TimeAndEnergy) {
  const Prices time = {.per_device_hour = 2 * kUsd + kUsd / 2, .per_kwh = std::nullopt};
  EXPECT_EQ(time.CostOf(kHourNs, std::nullopt), 2.5 * kPicoUsd);
  EXPECT_EQ(time.CostOf(kHourNs, kKwhUj), 2.5 * kPicoUsd);
  EXPECT_EQ(Usd(*time.CostOf(kHourNs / 2, std::nullopt)), 1.25);

  const Prices both = {.per_device_hour = kUsd, .per_kwh = kUsd / 5};
  EXPECT_EQ(both.CostOf(kHourNs, kKwhUj * 3), 1.6 * kPicoUsd);
  EXPECT_EQ(both.CostOf(kHourNs, std::nullopt), 1 * kPicoUsd);
}

TEST(PricesTest, WithoutAPriceThatAppliesThereIsNoCost) {
  EXPECT_EQ(Prices().CostOf(kHourNs, kKwhUj), std::nullopt);
  const Prices energy = {.per_device_hour = std::nullopt, .per_kwh = kUsd};
  EXPECT_EQ(energy.CostOf(kHourNs, std::nullopt), std::nullopt);
  EXPECT_EQ(energy.CostOf(kHourNs, kKwhUj), kPicoUsd);
  // A price of nothing is a price.
  EXPECT_EQ((Prices{.per_device_hour = 0, .per_kwh = std::nullopt}.CostOf(kHourNs, {})), 0);
}

TEST(PricesTest, RoundsOnceHalvesUp) {
  // A picodollar is 3.6 ns at a dollar an hour: 1.8 ns are half of one.
  const Prices prices = {.per_device_hour = kUsd, .per_kwh = kUsd};
  EXPECT_EQ(prices.CostOf(1, std::nullopt), 0);
  EXPECT_EQ(prices.CostOf(2, std::nullopt), 1);
  EXPECT_EQ(prices.CostOf(5, std::nullopt), 1);
  EXPECT_EQ(prices.CostOf(1, 1), 1);  // two halves of 0.28 are rounded together
  const Prices cents = {.per_device_hour = kUsd / 2, .per_kwh = std::nullopt};
  EXPECT_EQ(cents.CostOf(18, std::nullopt), 3);  // 2.5
}

TEST(PricesTest, AHundredDollarsAnHourForTenYears) {
  const Prices prices = {.per_device_hour = 100 * kUsd, .per_kwh = std::nullopt};
  EXPECT_EQ(prices.CostOf(kHourNs * 24 * 3652, std::nullopt), 8'764'800 * kPicoUsd);
}

}  // namespace
}  // namespace deltaserve
