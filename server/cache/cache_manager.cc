#include "server/cache/cache_manager.h"

#include <algorithm>
#include <cassert>

namespace deltaserve {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The row whose present content `row` has once `copies` are done. Copying from there instead of
// from `row` is what keeps a `to` from becoming a `from`.
int32_t Origin(const CopyList& copies, int32_t row) {
  const auto copy = std::find_if(copies.begin(), copies.end(),
                                 [row](const auto& pair) { return pair.second == row; });
  return copy == copies.end() ? row : copy->first;
}

}  // namespace

CacheManager::CacheManager(const CacheGeometry& geometry)
    : geometry_(geometry), pages_(geometry.num_pages), slots_(geometry.num_slots) {}

bool CacheManager::Admit(SequenceId sequence) {
  assert(!Holds(sequence));
  if (slots_.num_free() == 0) return false;
  tables_[sequence].slot = slots_.Allocate();
  return true;
}

bool CacheManager::Fork(SequenceId parent, SequenceId child, int64_t num_tokens,
                        CopyList& slot_copies) {
  assert(!Holds(child));
  if (slots_.num_free() == 0) return false;
  const Table& from = At(parent);
  const int64_t num_shared = CeilDiv(num_tokens, geometry_.page_tokens);
  assert(num_shared <= static_cast<int64_t>(from.pages.size()));

  Table table;
  table.slot = slots_.Allocate();
  slot_copies.emplace_back(Origin(slot_copies, from.slot), table.slot);
  table.pages.assign(from.pages.begin(), from.pages.begin() + num_shared);
  for (const int32_t page : table.pages) pages_.Share(page);
  tables_.emplace(child, std::move(table));
  return true;
}

int64_t CacheManager::PagesNeeded(absl::Span<const Reservation> reservations) const {
  int64_t needed = 0;
  // Where all holders of a page write, the last of them keeps it.
  absl::flat_hash_map<int32_t, int32_t> holders_left;
  for (const Reservation& reservation : reservations) {
    const std::vector<int32_t>& pages = At(reservation.sequence).pages;
    const int64_t num_held = static_cast<int64_t>(pages.size());
    const int64_t num_pages = CeilDiv(reservation.end, geometry_.page_tokens);
    needed += std::max<int64_t>(0, num_pages - num_held);
    for (int64_t i = reservation.first / geometry_.page_tokens; i < std::min(num_pages, num_held);
         ++i) {
      if (pages_.references(pages[i]) == 1) continue;
      int32_t& left = holders_left.try_emplace(pages[i], pages_.references(pages[i])).first->second;
      if (left == 1) continue;
      --left;
      ++needed;
    }
  }
  return needed;
}

bool CacheManager::Reserve(absl::Span<const Reservation> reservations, CopyList& page_copies) {
  if (PagesNeeded(reservations) > pages_.num_free()) return false;
  for (const Reservation& reservation : reservations) {
    assert(reservation.first < reservation.end);
    std::vector<int32_t>& pages = At(reservation.sequence).pages;
    const size_t first_page = reservation.first / geometry_.page_tokens;
    const size_t end_page = CeilDiv(reservation.end, geometry_.page_tokens);
    assert(first_page <= pages.size());
    for (size_t i = first_page; i < end_page; ++i) {
      if (i == pages.size()) {
        pages.push_back(pages_.Allocate());
      } else if (pages_.references(pages[i]) > 1) {
        const int32_t copy = pages_.Allocate();
        page_copies.emplace_back(Origin(page_copies, pages[i]), copy);
        pages_.Release(pages[i]);
        pages[i] = copy;
      }
    }
  }
  return true;
}

void CacheManager::Release(SequenceId sequence) {
  const Table& table = At(sequence);
  for (const int32_t page : table.pages) pages_.Release(page);
  slots_.Release(table.slot);
  tables_.erase(sequence);
}

absl::Span<const int32_t> CacheManager::Pages(SequenceId sequence) const {
  return At(sequence).pages;
}

int32_t CacheManager::Slot(SequenceId sequence) const { return At(sequence).slot; }

int64_t CacheManager::ExclusivePages(SequenceId sequence) const {
  const std::vector<int32_t>& pages = At(sequence).pages;
  return std::count_if(pages.begin(), pages.end(),
                       [this](int32_t page) { return pages_.references(page) == 1; });
}

bool CacheManager::IsShared(SequenceId sequence, int64_t position) const {
  const std::vector<int32_t>& pages = At(sequence).pages;
  const size_t page = position / geometry_.page_tokens;
  return page < pages.size() && pages_.references(pages[page]) > 1;
}

const CacheManager::Table& CacheManager::At(SequenceId sequence) const {
  const auto table = tables_.find(sequence);
  assert(table != tables_.end());
  return table->second;
}

CacheManager::Table& CacheManager::At(SequenceId sequence) {
  const auto table = tables_.find(sequence);
  assert(table != tables_.end());
  return table->second;
}

}  // namespace deltaserve
