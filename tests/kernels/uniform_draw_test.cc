#include "kernels/uniform_draw.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;

// The known answers that Random123 publishes for philox4x32 with 10 rounds (kat_vectors).
TEST(UniformDraw, PhiloxGivesThePublishedAnswers) {
  EXPECT_THAT(Philox4x32({{0, 0, 0, 0}}, {{0, 0}}).word,
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(
      Philox4x32({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, {{0xffffffff, 0xffffffff}})
          .word,
      ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      Philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}})
          .word,
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(UniformDraw, IsTheFirst53BitsOfTheFirstAnswer) {
  EXPECT_EQ(UniformDraw(0, 0, 0),
            static_cast<double>(0x6627e8d5e169c58d >> 11) / (uint64_t{1} << 53));
}

TEST(UniformDraw, DependsOnEveryArgument) {
  const double draw = UniformDraw(1, 2, 3);
  EXPECT_EQ(UniformDraw(1, 2, 3), draw);
  EXPECT_NE(UniformDraw(2, 2, 3), draw);
  EXPECT_NE(UniformDraw(1 + (uint64_t{1} << 32), 2, 3), draw);
  EXPECT_NE(UniformDraw(1, 3, 3), draw);
  EXPECT_NE(UniformDraw(1, 2, 4), draw);
  EXPECT_NE(UniformDraw(1, 3, 2), draw);
}

TEST(UniformDraw, FillsTheUnitInterval) {
  std::vector<int> bins(16);
  for (uint32_t position = 0; position < 16000; ++position) {
    const double draw = UniformDraw(7, 0, position);
    ASSERT_GE(draw, 0);
    ASSERT_LT(draw, 1);
    ++bins[static_cast<int>(draw * 16)];
  }
  for (int count : bins) EXPECT_NEAR(count, 1000, 150);  // five standard deviations
}

}  // namespace
}  // namespace deltaserve
