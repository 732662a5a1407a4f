#include "proto/usd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace deltaserve {
namespace {

TEST(ParseUsdTest, IsExact) {
  EXPECT_EQ(*ParseUsd("0", kPicodollarPlaces), 0);
  EXPECT_EQ(*ParseUsd("2.49", kPicodollarPlaces), 2'490'000'000'000);
  EXPECT_EQ(*ParseUsd("2.49", kNanodollarPlaces), 2'490'000'000);
  EXPECT_EQ(*ParseUsd("0.000000000001", kPicodollarPlaces), 1);
  EXPECT_EQ(*ParseUsd("0.000000001", kNanodollarPlaces), 1);
  EXPECT_EQ(*ParseUsd("1000000", kPicodollarPlaces), 1'000'000'000'000'000'000);
}

TEST(ParseUsdTest, RefusesWhatItCannotHold) {
  for (const char* text : {"", ".", "1.", ".5", "-1", "1e3", "1,5", "0.0000000000001",
                           "1000000.000000000001", "10000000", " 1", "9999999.999999999999"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseUsd(text, kPicodollarPlaces).status())) << text;
  }
  const absl::Status refused = ParseUsd("0.0000000001", kNanodollarPlaces).status();
  EXPECT_EQ(refused.message(),
            "\"0.0000000001\" is not a decimal of at most 9 places in [0, 1000000]");
}

}  // namespace
}  // namespace deltaserve
