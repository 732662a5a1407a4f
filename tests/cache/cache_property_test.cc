// Random lives of sequences, against a memory that really holds what they wrote.
#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/cache/cache_manager.h"

namespace deltaserve {
namespace {

using Value = int64_t;

// What a sequence must read: its own writes and those it took over from its parent.
struct Written {
  std::vector<Value> tokens;
  Value state = 0;
};

class Simulation {
 public:
  Simulation(const CacheGeometry& geometry, uint32_t seed)
      : geometry_(geometry),
        cache_(geometry),
        pages_(geometry.num_pages, std::vector<Value>(geometry.page_tokens)),
        slots_(geometry.num_slots),
        random_(seed) {}

  void RunStep() {
    for (int i = Uniform(0, crowded_ ? 6 : 1); i > 0; --i) MaybeRelease();
    CopyList slot_copies;
    for (int i = Uniform(0, 2); i > 0; --i) AdmitOne();
    for (int i = Uniform(0, 4); i > 0; --i) ForkOne(slot_copies);
    ApplyCopies(slot_copies, slots_);
    Write(DrawReservations());
    CheckTables();
    CheckContents();
  }

  void ReleaseAll() {
    while (!sequences_.empty()) Release(sequences_.begin()->first);
    EXPECT_EQ(cache_.free_pages(), geometry_.num_pages - 1);
    EXPECT_EQ(cache_.free_slots(), geometry_.num_slots - 1);
    EXPECT_EQ(cache_.used_pages(), 0);
    EXPECT_EQ(cache_.used_slots(), 0);
  }

  int refused_reservations() const { return refused_reservations_; }
  int page_copies() const { return page_copies_; }

 private:
  int Uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  SequenceId Any() {
    return std::next(sequences_.begin(), Uniform(0, static_cast<int>(sequences_.size()) - 1))
        ->first;
  }

  void Release(SequenceId id) {
    cache_.Release(id);
    EXPECT_FALSE(cache_.Holds(id));
    sequences_.erase(id);
  }

  void MaybeRelease() {
    if (!sequences_.empty() && Uniform(0, 1) == 0) Release(Any());
  }

  void AdmitOne() {
    const bool fits = cache_.free_slots() > 0;
    const SequenceId id = next_id_++;
    ASSERT_EQ(cache_.Admit(id), fits);
    if (!fits) return;
    sequences_[id] = {.tokens = {}, .state = ++stamp_};
    slots_[cache_.Slot(id)] = stamp_;
  }

  void ForkOne(CopyList& slot_copies) {
    if (sequences_.empty()) return;
    const SequenceId parent = Any();
    const SequenceId child = next_id_++;
    const Written& from = sequences_.at(parent);
    const int64_t num_tokens = Uniform(0, static_cast<int>(from.tokens.size()));
    const bool fits = cache_.free_slots() > 0;
    ASSERT_EQ(cache_.Fork(parent, child, num_tokens, slot_copies), fits);
    if (!fits) return;
    sequences_[child] = {.tokens = {from.tokens.begin(), from.tokens.begin() + num_tokens},
                         .state = from.state};
  }

  std::vector<Reservation> DrawReservations() {
    std::vector<Reservation> reservations;
    for (const auto& [id, sequence] : sequences_) {
      if (Uniform(0, 1) == 0) continue;
      const int64_t first = sequence.tokens.size();
      reservations.push_back({id, first, first + Uniform(1, 2 * geometry_.page_tokens)});
    }
    std::shuffle(reservations.begin(), reservations.end(), random_);
    return reservations;
  }

  // How many tables each page is in.
  std::map<int32_t, int64_t> Recount() const {
    std::map<int32_t, int64_t> holders;
    for (const auto& [id, sequence] : sequences_) {
      for (const int32_t page : cache_.Pages(id)) ++holders[page];
    }
    return holders;
  }

  int64_t PagesNeeded(const std::vector<Reservation>& reservations) const {
    int64_t needed = 0;
    std::map<int32_t, int64_t> writers;
    for (const Reservation& reservation : reservations) {
      const absl::Span<const int32_t> pages = cache_.Pages(reservation.sequence);
      std::set<size_t> touched;
      for (int64_t p = reservation.first; p < reservation.end; ++p) {
        touched.insert(p / geometry_.page_tokens);
      }
      for (const size_t page : touched) {
        page < pages.size() ? ++writers[pages[page]] : ++needed;
      }
    }
    const std::map<int32_t, int64_t> holders = Recount();
    for (const auto& [page, count] : writers) needed += std::min(count, holders.at(page) - 1);
    return needed;
  }

  std::map<SequenceId, std::vector<int32_t>> Tables() const {
    std::map<SequenceId, std::vector<int32_t>> tables;
    for (const auto& [id, sequence] : sequences_) {
      tables[id] = {cache_.Pages(id).begin(), cache_.Pages(id).end()};
    }
    return tables;
  }

  template <typename Row>
  static void ApplyCopies(const CopyList& copies, std::vector<Row>& rows) {
    std::set<int32_t> sources;
    std::set<int32_t> targets;
    for (const auto& [from, to] : copies) {
      sources.insert(from);
      EXPECT_TRUE(targets.insert(to).second) << "written twice: " << to;
    }
    for (const int32_t to : targets) EXPECT_FALSE(sources.contains(to)) << to;
    for (const auto& [from, to] : copies) rows[to] = rows[from];
  }

  void Write(const std::vector<Reservation>& reservations) {
    const int64_t needed = PagesNeeded(reservations);
    const int64_t free_before = cache_.free_pages();
    const auto tables_before = Tables();
    CopyList page_copies;
    ASSERT_EQ(cache_.Reserve(reservations, page_copies), needed <= free_before);
    crowded_ = needed > free_before;
    if (crowded_) {
      ++refused_reservations_;
      EXPECT_TRUE(page_copies.empty());
      EXPECT_EQ(cache_.free_pages(), free_before);
      EXPECT_EQ(Tables(), tables_before);
      return;
    }
    EXPECT_EQ(cache_.free_pages(), free_before - needed);
    page_copies_ += static_cast<int>(page_copies.size());
    ApplyCopies(page_copies, pages_);
    for (const Reservation& reservation : reservations) {
      Written& sequence = sequences_.at(reservation.sequence);
      const absl::Span<const int32_t> pages = cache_.Pages(reservation.sequence);
      for (int64_t p = reservation.first; p < reservation.end; ++p) {
        EXPECT_FALSE(cache_.IsShared(reservation.sequence, p));
        pages_[pages[p / geometry_.page_tokens]][p % geometry_.page_tokens] = ++stamp_;
        sequence.tokens.push_back(stamp_);
      }
      slots_[cache_.Slot(reservation.sequence)] = sequence.state = ++stamp_;
    }
  }

  void CheckTables() const {
    const std::map<int32_t, int64_t> holders = Recount();
    EXPECT_FALSE(holders.contains(0)) << "the padding page";
    EXPECT_EQ(cache_.used_pages(), static_cast<int64_t>(holders.size()));
    EXPECT_EQ(cache_.used_pages() + cache_.free_pages(), geometry_.num_pages - 1);
    std::set<int32_t> own_slots;
    for (const auto& [id, sequence] : sequences_) {
      EXPECT_TRUE(own_slots.insert(cache_.Slot(id)).second) << "a slot of two sequences";
      const absl::Span<const int32_t> pages = cache_.Pages(id);
      const int64_t num_tokens = sequence.tokens.size();
      EXPECT_EQ(static_cast<int64_t>(pages.size()),
                (num_tokens + geometry_.page_tokens - 1) / geometry_.page_tokens);
      EXPECT_EQ(
          cache_.ExclusivePages(id),
          std::count_if(pages.begin(), pages.end(), [&](int32_t p) { return holders.at(p) == 1; }));
      for (int64_t p = 0; p < num_tokens; ++p) {
        EXPECT_EQ(cache_.IsShared(id, p), holders.at(pages[p / geometry_.page_tokens]) > 1);
      }
    }
    EXPECT_FALSE(own_slots.contains(0)) << "the padding slot";
    EXPECT_EQ(cache_.used_slots(), static_cast<int64_t>(sequences_.size()));
    EXPECT_EQ(cache_.used_slots() + cache_.free_slots(), geometry_.num_slots - 1);
  }

  void CheckContents() const {
    for (const auto& [id, sequence] : sequences_) {
      EXPECT_EQ(slots_[cache_.Slot(id)], sequence.state);
      std::vector<Value> read;
      for (size_t p = 0; p < sequence.tokens.size(); ++p) {
        read.push_back(
            pages_[cache_.Pages(id)[p / geometry_.page_tokens]][p % geometry_.page_tokens]);
      }
      EXPECT_EQ(read, sequence.tokens) << "sequence " << id;
    }
  }

  const CacheGeometry geometry_;
  CacheManager cache_;
  std::vector<std::vector<Value>> pages_;
  std::vector<Value> slots_;
  std::map<SequenceId, Written> sequences_;
  std::mt19937 random_;
  SequenceId next_id_ = 1;
  Value stamp_ = 0;
  bool crowded_ = false;
  int refused_reservations_ = 0;
  int page_copies_ = 0;
};

TEST(CachePropertyTest, EverySequenceReadsWhatItWrote) {
  int refused_reservations = 0;
  int page_copies = 0;
  for (uint32_t seed = 0; seed < 60 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Simulation simulation({.page_tokens = 1 + seed % 5,
                           .num_pages = 8 + 7 * (seed % 9),
                           .num_slots = 4 + 3 * (seed % 4)},
                          seed);
    for (int step = 0; step < 300 && !::testing::Test::HasFailure(); ++step) simulation.RunStep();
    simulation.ReleaseAll();
    refused_reservations += simulation.refused_reservations();
    page_copies += simulation.page_copies();
  }
  // The interesting cases did occur.
  EXPECT_GT(refused_reservations, 100);
  EXPECT_GT(page_copies, 1000);
}

}  // namespace
}  // namespace deltaserve
