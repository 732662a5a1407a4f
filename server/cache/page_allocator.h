#ifndef DELTASERVE_SERVER_CACHE_PAGE_ALLOCATOR_H_
#define DELTASERVE_SERVER_CACHE_PAGE_ALLOCATOR_H_

#include <cstdint>
#include <vector>

namespace deltaserve {

// Hands out page ids, never memory. Page 0 is reserved for padding. Reference-counted, so that
// forks share pages. Not thread-safe.
class PageAllocator {
 public:
  explicit PageAllocator(int64_t num_pages);  // page 0 included

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return static_cast<int64_t>(references_.size()) - 1 - num_free(); }

  int32_t Allocate();  // with one reference; one must be free
  void Share(int32_t page);
  void Release(int32_t page);
  int32_t references(int32_t page) const { return references_[page]; }

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;  // taken from the back
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_CACHE_PAGE_ALLOCATOR_H_
