#include "server/telemetry/apportion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "tests/support/random_source.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;

TEST(ApportionTest, ExactShares) {
  EXPECT_THAT(Apportion(100, {3, 1}, {1, 2}), ElementsAre(75, 25));
  EXPECT_THAT(Apportion(0, {3, 1}, {1, 2}), ElementsAre(0, 0));
  EXPECT_THAT(Apportion(7, {5}, {1}), ElementsAre(7));
}

TEST(ApportionTest, TheLargestRemaindersAreRoundedUp) {
  // 10 · (5, 3, 1) / 9 = 5.56, 3.33, 1.11
  EXPECT_THAT(Apportion(10, {5, 3, 1}, {1, 2, 3}), ElementsAre(6, 3, 1));
  // 4 · (5, 3, 1) / 9 = 2.22, 1.33, 0.44
  EXPECT_THAT(Apportion(4, {5, 3, 1}, {1, 2, 3}), ElementsAre(2, 1, 1));
}

TEST(ApportionTest, OfEqualOnesTheSmallestKeyFirst) {
  EXPECT_THAT(Apportion(10, {1, 1, 1}, {7, 3, 5}), ElementsAre(3, 4, 3));
  EXPECT_THAT(Apportion(11, {1, 1, 1}, {7, 3, 5}), ElementsAre(3, 4, 4));
  EXPECT_THAT(Apportion(2, {0, 0, 0}, {7, 3, 5}), ElementsAre(0, 1, 1));
}

TEST(ApportionTest, NothingOverflows) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Apportion(kMost, {kMost, kMost}, {1, 2}), ElementsAre(kMost / 2 + 1, kMost / 2));
  EXPECT_THAT(Apportion(kMost, {kMost, 0}, {1, 2}), ElementsAre(kMost, 0));
}

TEST(ApportionTest, PartsAddUpAndAreWithinOneOfTheShare) {
  RandomSource random(1);
  for (int round = 0; round < 2000; ++round) {
    const int64_t total = random.Integer(0, random.Pick<int64_t>({3, 1000, 1'000'000'007}));
    std::vector<int64_t> weights(random.Integer(1, 40));
    std::vector<uint64_t> keys(weights.size());
    for (int64_t& weight : weights) {
      weight = random.Integer(0, random.Pick<int64_t>({1, 100, 1'000'000}));
    }
    weights[0] += 1;
    std::iota(keys.begin(), keys.end(), 0);
    const std::vector<int64_t> parts = Apportion(total, weights, keys);
    EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), int64_t{0}), total);
    const double sum =
        static_cast<double>(std::accumulate(weights.begin(), weights.end(), int64_t{0}));
    for (size_t i = 0; i < parts.size(); ++i) {
      const double share = static_cast<double>(total) * static_cast<double>(weights[i]) / sum;
      EXPECT_LT(std::abs(static_cast<double>(parts[i]) - share), 1 + 1e-6);
    }
  }
}

}  // namespace
}  // namespace deltaserve
