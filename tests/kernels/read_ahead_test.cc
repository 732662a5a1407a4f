#include "kernels/cpu/read_ahead.h"

#include <set>

#include "gtest/gtest.h"

namespace deltaserve::cpu {
namespace {

constexpr int64_t kLine = ReadAhead::kLineBytes;

// The numbers of the lines of `memory` that a worker is given, `max_lines` at a time.
std::multiset<int64_t> TakeAll(ReadAhead::Share& share, const char* memory, int64_t max_lines) {
  std::multiset<int64_t> lines;
  for (ReadAhead::Lines next = share.Take(max_lines); next.begin != next.end;
       next = share.Take(max_lines)) {
    EXPECT_LE(next.end - next.begin, max_lines * kLine);
    for (const char* at = next.begin; at < next.end; at += kLine) {
      lines.insert((at - memory) / kLine);
    }
  }
  return lines;
}

TEST(ReadAheadTest, EveryLineIsTakenOnceByItsWorker) {
  const char* const memory = reinterpret_cast<const char*>(0x100000);
  ReadAhead ahead(2, 100 * kLine);
  ahead.Clear();
  EXPECT_TRUE(ahead.Add(0, memory, 7 * kLine));
  EXPECT_TRUE(ahead.Add(1, memory + 7 * kLine, 5 * kLine));
  EXPECT_TRUE(ahead.Add(0, memory + 12 * kLine, 3 * kLine));
  std::multiset<int64_t> lines = TakeAll(ahead.share(0), memory, 4);
  EXPECT_EQ(lines.size(), 10u);
  lines.merge(TakeAll(ahead.share(1), memory, 2));
  EXPECT_EQ(lines.size(), 15u);
  EXPECT_EQ(std::set<int64_t>(lines.begin(), lines.end()).size(), 15u);
}

TEST(ReadAheadTest, NothingIsAddedBeyondAWorkersPartOfTheCapacity) {
  const char* const memory = reinterpret_cast<const char*>(0x100000);
  ReadAhead ahead(2, 20 * kLine);
  EXPECT_FALSE(ahead.Add(0, memory, kLine));  // before the first Clear there is no room
  for (int round = 0; round < 2; ++round) {
    ahead.Clear();
    EXPECT_TRUE(ahead.Add(0, memory, 8 * kLine));
    EXPECT_FALSE(ahead.Add(0, memory, 3 * kLine));
    EXPECT_TRUE(ahead.Add(1, memory, 3 * kLine));
    EXPECT_EQ(TakeAll(ahead.share(0), memory, 100).size(), 8u);
  }
  ahead.Clear();
  EXPECT_TRUE(TakeAll(ahead.share(0), memory, 100).empty());
}

}  // namespace
}  // namespace deltaserve::cpu
