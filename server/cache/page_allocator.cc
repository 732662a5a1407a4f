#include "server/cache/page_allocator.h"

#include <cassert>
#include <limits>
#include <numeric>

namespace deltaserve {

PageAllocator::PageAllocator(int64_t num_pages) {
  assert(num_pages >= 1 && num_pages <= std::numeric_limits<int32_t>::max());
  references_.resize(num_pages, 0);
  free_.resize(num_pages - 1);
  std::iota(free_.rbegin(), free_.rend(), 1);
}

int32_t PageAllocator::Allocate() {
  assert(!free_.empty());
  const int32_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return page;
}

void PageAllocator::Share(int32_t page) {
  assert(references_[page] > 0);
  ++references_[page];
}

void PageAllocator::Release(int32_t page) {
  assert(references_[page] > 0);
  if (--references_[page] == 0) free_.push_back(page);
}

}  // namespace deltaserve
