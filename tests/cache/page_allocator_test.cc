#include "server/cache/page_allocator.h"

#include <set>

#include "gtest/gtest.h"

namespace deltaserve {
namespace {

TEST(PageAllocatorTest, HandsOutEveryPageButThePaddingPage) {
  PageAllocator pages(5);
  EXPECT_EQ(pages.num_free(), 4);
  std::set<int32_t> taken;
  while (pages.num_free() > 0) taken.insert(pages.Allocate());
  EXPECT_EQ(taken, (std::set<int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(pages.num_used(), 4);
}

TEST(PageAllocatorTest, ASharedPageIsFreeOnceItsLastHolderIsGone) {
  PageAllocator pages(3);
  const int32_t page = pages.Allocate();
  EXPECT_EQ(pages.references(page), 1);
  pages.Share(page);
  EXPECT_EQ(pages.references(page), 2);
  pages.Release(page);
  EXPECT_EQ(pages.references(page), 1);
  EXPECT_EQ(pages.num_free(), 1);
  pages.Release(page);
  EXPECT_EQ(pages.num_free(), 2);
  EXPECT_EQ(pages.num_used(), 0);
}

TEST(PageAllocatorTest, AReleasedPageIsHandedOutAgainWithOneReference) {
  PageAllocator pages(2);
  const int32_t page = pages.Allocate();
  pages.Share(page);
  pages.Release(page);
  pages.Release(page);
  EXPECT_EQ(pages.Allocate(), page);
  EXPECT_EQ(pages.references(page), 1);
}

TEST(PageAllocatorTest, WithThePaddingPageAloneNothingIsFree) {
  const PageAllocator pages(1);
  EXPECT_EQ(pages.num_free(), 0);
  EXPECT_EQ(pages.num_used(), 0);
}

}  // namespace
}  // namespace deltaserve
