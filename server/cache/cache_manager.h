// Which pages and slots belong to which sequence: the accounting of one model's cache. The memory
// behind the ids is the engine's (engine/cache_memory.h).
#ifndef DELTASERVE_SERVER_CACHE_CACHE_MANAGER_H_
#define DELTASERVE_SERVER_CACHE_CACHE_MANAGER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/api/step_plan.h"
#include "server/cache/page_allocator.h"
#include "server/cache/state_slots.h"

namespace deltaserve {

struct CacheGeometry {
  int64_t page_tokens = 16;
  int64_t num_pages = 0;  // padding page included
  int64_t num_slots = 0;  // padding slot included
};

// {from, to} rows that the next step copies before anything else. No `to` is also a `from`, and
// none comes twice, so that the copies may run in any order. They hold while nothing is released:
// what a step releases, it releases before it forks and reserves.
using CopyList = std::vector<std::pair<int32_t, int32_t>>;

// What a sequence will write in the next step: positions [first, end), not empty, and with none
// missing before them.
struct Reservation {
  SequenceId sequence = 0;
  int64_t first = 0;
  int64_t end = 0;
};

// Not thread-safe. Naming a sequence it does not hold is a bug of the caller (asserted).
class CacheManager {
 public:
  explicit CacheManager(const CacheGeometry& geometry);

  const CacheGeometry& geometry() const { return geometry_; }
  int64_t free_pages() const { return pages_.num_free(); }
  int64_t used_pages() const { return pages_.num_used(); }
  int64_t free_slots() const { return slots_.num_free(); }
  int64_t used_slots() const { return slots_.num_used(); }

  // Gives a new sequence its slot. False, and nothing done, if none is free.
  bool Admit(SequenceId sequence);
  // The same for one that shares the pages of the parent's first `num_tokens` positions.
  // `slot_copies` gains the pair that brings the parent's tails over.
  bool Fork(SequenceId parent, SequenceId child, int64_t num_tokens, CopyList& slot_copies);
  // Makes room for all the reservations (of a sequence one at most) or, returning false, changes
  // nothing. A page to be written that others hold as well is replaced by a copy, added to
  // `page_copies`.
  bool Reserve(absl::Span<const Reservation> reservations, CopyList& page_copies);
  // Gives everything back.
  void Release(SequenceId sequence);

  bool Holds(SequenceId sequence) const { return tables_.contains(sequence); }
  absl::Span<const int32_t> Pages(SequenceId sequence) const;
  int32_t Slot(SequenceId sequence) const;
  // Pages nobody else holds.
  int64_t ExclusivePages(SequenceId sequence) const;
  // Position `position` lies in a page of the sequence that others hold too.
  bool IsShared(SequenceId sequence, int64_t position) const;

 private:
  struct Table {
    std::vector<int32_t> pages;
    int32_t slot = 0;
  };
  const Table& At(SequenceId sequence) const;
  Table& At(SequenceId sequence);
  int64_t PagesNeeded(absl::Span<const Reservation> reservations) const;

  CacheGeometry geometry_;
  PageAllocator pages_;
  StateSlots slots_;
  absl::flat_hash_map<SequenceId, Table> tables_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_CACHE_CACHE_MANAGER_H_
