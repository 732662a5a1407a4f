#include "server/cache/cache_manager.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace deltaserve {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr SequenceId kParent = 1;
constexpr SequenceId kChild = 2;
constexpr SequenceId kGrandchild = 3;

// Pages of 4 tokens; 8 pages and 4 slots to hand out.
class CacheManagerTest : public ::testing::Test {
 protected:
  // Sequences that hold all slots but `count`.
  void LeaveSlots(int64_t count) {
    for (SequenceId other = 100; cache_.free_slots() > count; ++other) {
      ASSERT_TRUE(cache_.Admit(other));
    }
  }

  // One sequence of `num_tokens` computed tokens.
  void MakeParent(int64_t num_tokens) {
    ASSERT_TRUE(cache_.Admit(kParent));
    ASSERT_TRUE(cache_.Reserve({{kParent, 0, num_tokens}}, page_copies_));
    ASSERT_THAT(page_copies_, IsEmpty());
  }

  std::vector<int32_t> Pages(SequenceId sequence) const {
    return {cache_.Pages(sequence).begin(), cache_.Pages(sequence).end()};
  }

  CacheManager cache_{CacheGeometry{.page_tokens = 4, .num_pages = 9, .num_slots = 5}};
  CopyList slot_copies_;
  CopyList page_copies_;
};

TEST_F(CacheManagerTest, PaddingIsNeverHandedOut) {
  EXPECT_EQ(cache_.free_pages(), 8);
  EXPECT_EQ(cache_.free_slots(), 4);
  MakeParent(32);
  LeaveSlots(0);
  EXPECT_EQ(cache_.free_pages(), 0);
  EXPECT_EQ(cache_.used_pages(), 8);
  EXPECT_EQ(cache_.free_slots(), 0);
  EXPECT_EQ(cache_.used_slots(), 4);
  EXPECT_THAT(Pages(kParent), ::testing::Each(::testing::Gt(0)));
  EXPECT_GT(cache_.Slot(kParent), 0);
}

TEST_F(CacheManagerTest, AdmitTakesASlotOrDoesNothing) {
  ASSERT_TRUE(cache_.Admit(kParent));
  ASSERT_TRUE(cache_.Admit(kChild));
  EXPECT_NE(cache_.Slot(kParent), cache_.Slot(kChild));
  LeaveSlots(0);
  EXPECT_FALSE(cache_.Admit(kGrandchild));
  EXPECT_FALSE(cache_.Holds(kGrandchild));
}

TEST_F(CacheManagerTest, ReserveAddsPagesOnlyAsPositionsNeedThem) {
  MakeParent(3);
  EXPECT_THAT(Pages(kParent), SizeIs(1));
  ASSERT_TRUE(cache_.Reserve({{kParent, 3, 4}}, page_copies_));
  EXPECT_THAT(Pages(kParent), SizeIs(1));
  ASSERT_TRUE(cache_.Reserve({{kParent, 4, 13}}, page_copies_));
  EXPECT_THAT(Pages(kParent), SizeIs(4));
  EXPECT_EQ(cache_.ExclusivePages(kParent), 4);
}

TEST_F(CacheManagerTest, ReserveIsAllOrNothing) {
  MakeParent(4 * 5);
  ASSERT_TRUE(cache_.Admit(kChild));
  EXPECT_FALSE(cache_.Reserve({{kParent, 20, 24}, {kChild, 0, 12}}, page_copies_));
  EXPECT_THAT(Pages(kParent), SizeIs(5));
  EXPECT_THAT(Pages(kChild), IsEmpty());
  EXPECT_EQ(cache_.free_pages(), 3);
  EXPECT_TRUE(cache_.Reserve({{kParent, 20, 24}, {kChild, 0, 8}}, page_copies_));
  EXPECT_EQ(cache_.free_pages(), 0);
}

TEST_F(CacheManagerTest, AForkSharesThePrefixOnly) {
  MakeParent(14);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 6, slot_copies_));
  EXPECT_THAT(Pages(kChild), ElementsAre(Pages(kParent)[0], Pages(kParent)[1]));
  EXPECT_THAT(slot_copies_, ElementsAre(Pair(cache_.Slot(kParent), cache_.Slot(kChild))));
  EXPECT_EQ(cache_.used_pages(), 4);
  EXPECT_EQ(cache_.ExclusivePages(kParent), 2);
  EXPECT_EQ(cache_.ExclusivePages(kChild), 0);
  EXPECT_TRUE(cache_.IsShared(kParent, 7));
  EXPECT_FALSE(cache_.IsShared(kParent, 8));
  EXPECT_TRUE(cache_.IsShared(kChild, 7));
  EXPECT_FALSE(cache_.IsShared(kChild, 8));  // its table ends there
}

TEST_F(CacheManagerTest, AForkOfNoTokensSharesNothing) {
  MakeParent(4);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 0, slot_copies_));
  EXPECT_THAT(Pages(kChild), IsEmpty());
}

TEST_F(CacheManagerTest, AForkWithoutASlotDoesNothing) {
  MakeParent(4);
  LeaveSlots(0);
  EXPECT_FALSE(cache_.Fork(kParent, kChild, 4, slot_copies_));
  EXPECT_FALSE(cache_.Holds(kChild));
  EXPECT_THAT(slot_copies_, IsEmpty());
  EXPECT_EQ(cache_.ExclusivePages(kParent), 1);
}

TEST_F(CacheManagerTest, AForkOfAFreshForkCopiesFromTheFirstParent) {
  MakeParent(4);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 4, slot_copies_));
  ASSERT_TRUE(cache_.Fork(kChild, kGrandchild, 4, slot_copies_));
  EXPECT_THAT(slot_copies_, ElementsAre(Pair(cache_.Slot(kParent), cache_.Slot(kChild)),
                                        Pair(cache_.Slot(kParent), cache_.Slot(kGrandchild))));
}

TEST_F(CacheManagerTest, WritingASharedPageCopiesIt) {
  MakeParent(6);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 6, slot_copies_));
  const std::vector<int32_t> before = Pages(kParent);
  ASSERT_TRUE(cache_.Reserve({{kChild, 6, 7}}, page_copies_));
  EXPECT_THAT(Pages(kParent), ElementsAreArray(before));
  EXPECT_EQ(Pages(kChild)[0], before[0]);
  EXPECT_THAT(page_copies_, ElementsAre(Pair(before[1], Pages(kChild)[1])));
  EXPECT_FALSE(cache_.IsShared(kParent, 6));
}

TEST_F(CacheManagerTest, APageSharedToItsEndIsNotCopied) {
  MakeParent(8);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 8, slot_copies_));
  ASSERT_TRUE(cache_.Reserve({{kParent, 8, 9}, {kChild, 8, 9}}, page_copies_));
  EXPECT_THAT(page_copies_, IsEmpty());
  EXPECT_EQ(cache_.used_pages(), 4);
}

TEST_F(CacheManagerTest, WhereAllHoldersWriteTheLastKeepsThePage) {
  MakeParent(6);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 6, slot_copies_));
  ASSERT_TRUE(cache_.Fork(kParent, kGrandchild, 6, slot_copies_));
  const int32_t shared = Pages(kParent)[1];
  ASSERT_TRUE(cache_.Reserve({{kParent, 6, 7}, {kChild, 6, 7}, {kGrandchild, 6, 7}}, page_copies_));
  EXPECT_THAT(page_copies_,
              ElementsAre(Pair(shared, Pages(kParent)[1]), Pair(shared, Pages(kChild)[1])));
  EXPECT_EQ(Pages(kGrandchild)[1], shared);
}

TEST_F(CacheManagerTest, TheCopyCountsAgainstTheFreePages) {
  MakeParent(6);
  ASSERT_TRUE(cache_.Admit(kGrandchild));
  ASSERT_TRUE(cache_.Reserve({{kGrandchild, 0, 24}}, page_copies_));
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 6, slot_copies_));
  EXPECT_FALSE(cache_.Reserve({{kChild, 6, 7}}, page_copies_));
  EXPECT_THAT(page_copies_, IsEmpty());
  EXPECT_TRUE(cache_.IsShared(kChild, 6));
  cache_.Release(kParent);
  EXPECT_TRUE(cache_.Reserve({{kChild, 6, 7}}, page_copies_));
  EXPECT_THAT(page_copies_, IsEmpty());
}

TEST_F(CacheManagerTest, ACopyOfAFreshCopyReadsTheOriginal) {
  MakeParent(6);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 6, slot_copies_));
  const int32_t shared = Pages(kParent)[1];
  ASSERT_TRUE(cache_.Reserve({{kChild, 6, 7}}, page_copies_));
  ASSERT_TRUE(cache_.Fork(kChild, kGrandchild, 6, slot_copies_));
  ASSERT_TRUE(cache_.Reserve({{kGrandchild, 6, 7}}, page_copies_));
  EXPECT_THAT(page_copies_,
              ElementsAre(Pair(shared, Pages(kChild)[1]), Pair(shared, Pages(kGrandchild)[1])));
}

TEST_F(CacheManagerTest, ReleaseGivesBackPagesAndSlot) {
  MakeParent(10);
  ASSERT_TRUE(cache_.Fork(kParent, kChild, 10, slot_copies_));
  cache_.Release(kParent);
  EXPECT_FALSE(cache_.Holds(kParent));
  EXPECT_EQ(cache_.used_pages(), 3);  // the child's
  EXPECT_EQ(cache_.used_slots(), 1);
  EXPECT_EQ(cache_.ExclusivePages(kChild), 3);
  cache_.Release(kChild);
  EXPECT_EQ(cache_.free_pages(), 8);
  EXPECT_EQ(cache_.free_slots(), 4);
}

}  // namespace
}  // namespace deltaserve
