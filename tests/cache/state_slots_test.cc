#include "server/cache/state_slots.h"

#include <set>

#include "gtest/gtest.h"

namespace deltaserve {
namespace {

TEST(StateSlotsTest, HandsOutEverySlotButThePaddingSlot) {
  StateSlots slots(4);
  EXPECT_EQ(slots.num_free(), 3);
  std::set<int32_t> taken;
  while (slots.num_free() > 0) taken.insert(slots.Allocate());
  EXPECT_EQ(taken, (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(slots.num_used(), 3);
}

TEST(StateSlotsTest, AReleasedSlotIsHandedOutAgain) {
  StateSlots slots(3);
  slots.Allocate();
  const int32_t second = slots.Allocate();
  slots.Release(second);
  EXPECT_EQ(slots.num_free(), 1);
  EXPECT_EQ(slots.num_used(), 1);
  EXPECT_EQ(slots.Allocate(), second);
}

}  // namespace
}  // namespace deltaserve
