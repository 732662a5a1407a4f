// What holds of every plan, over random states.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler.h"

namespace deltaserve {
namespace {

struct State {
  std::vector<SequenceInfo> sequences;
  Capacity capacity;
};

int64_t Remaining(const SequenceInfo& sequence) {
  return sequence.num_tokens - sequence.num_computed;
}

int64_t PagesFor(const SequenceInfo& sequence, int64_t end, int64_t page_tokens) {
  const int64_t pages = (end + page_tokens - 1) / page_tokens;
  return pages - sequence.pages_held + (sequence.next_page_shared ? 1 : 0);
}

State RandomState(std::mt19937& random) {
  const auto uniform = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  State state;
  const int64_t page_tokens = uniform(1, 6);
  const int num_sequences = uniform(0, 12);
  const int percent_running = uniform(0, 100);
  int64_t num_running = 0;
  for (int i = 0; i < num_sequences; ++i) {
    SequenceInfo sequence;
    sequence.id = 100 + i;
    sequence.num_tokens = uniform(1, 40);
    sequence.running = uniform(0, 99) < percent_running;
    if (sequence.running) {
      ++num_running;
      const int64_t remaining = uniform(0, 1) == 0 ? 1 : uniform(0, sequence.num_tokens);
      sequence.num_computed = sequence.num_tokens - remaining;
    } else {
      const bool fork = uniform(0, 2) == 0;
      if (fork) sequence.num_computed = uniform(0, sequence.num_tokens);
    }
    sequence.pages_held = (sequence.num_computed + page_tokens - 1) / page_tokens;
    if (sequence.running) sequence.pages_freed = uniform(0, sequence.pages_held);
    sequence.next_page_shared = sequence.num_computed % page_tokens != 0 && uniform(0, 1) == 0;
    state.sequences.push_back(sequence);
  }
  state.capacity = {.token_budget = num_running + uniform(0, 40),
                    .free_pages = uniform(0, 3) == 0 ? 0 : uniform(0, 30),
                    .free_slots = uniform(0, 8),
                    .page_tokens = page_tokens};
  return state;
}

void CheckPlan(const State& state, const StepPlan& plan) {
  const auto& [sequences, capacity] = state;
  std::map<SequenceId, SequenceInfo> by_id;
  std::vector<SequenceId> kept;    // running ones that are not preempted
  std::vector<SequenceId> claims;  // waiting ones with something to compute
  int64_t pages_of_all_running = 0;
  for (const SequenceInfo& sequence : sequences) {
    by_id[sequence.id] = sequence;
    if (sequence.running) {
      kept.push_back(sequence.id);
      if (Remaining(sequence) > 0) {
        pages_of_all_running += PagesFor(sequence, sequence.num_tokens, capacity.page_tokens);
      }
    } else if (Remaining(sequence) > 0) {
      claims.push_back(sequence.id);
    }
  }

  // Victims: the youngest, never the oldest of all, and only where pages or the first waiting one
  // call for it.
  int64_t free_pages = capacity.free_pages;
  for (const SequenceId victim : plan.preempt) {
    ASSERT_FALSE(kept.empty());
    ASSERT_EQ(victim, kept.back());
    EXPECT_NE(victim, sequences.front().id);
    free_pages += by_id[victim].pages_freed;
    kept.pop_back();
  }
  if (pages_of_all_running <= capacity.free_pages && !plan.chunks.empty()) {
    EXPECT_TRUE(plan.preempt.empty());
  }

  // Admission: in order, and for as long as the next one fits.
  ASSERT_LE(plan.admit.size(), claims.size());
  EXPECT_TRUE(std::equal(plan.admit.begin(), plan.admit.end(), claims.begin()));
  EXPECT_TRUE(plan.preempt.empty() || plan.admit.empty());

  // Chunks: those of the kept in order, then those of the admitted, within budget, pages, slots.
  std::vector<SequenceId> order = kept;
  order.insert(order.end(), plan.admit.begin(), plan.admit.end());
  auto next = order.begin();
  std::set<SequenceId> chunked;
  int64_t budget = capacity.token_budget;
  int64_t free_slots = capacity.free_slots;
  for (const StepChunk& chunk : plan.chunks) {
    next = std::find(next, order.end(), chunk.sequence);
    ASSERT_NE(next, order.end());
    ++next;
    const SequenceInfo& sequence = by_id[chunk.sequence];
    chunked.insert(chunk.sequence);
    EXPECT_EQ(chunk.first, sequence.num_computed);
    EXPECT_GE(chunk.count, 1);
    EXPECT_LE(chunk.count, Remaining(sequence));
    EXPECT_EQ(chunk.last, chunk.count == Remaining(sequence));
    budget -= chunk.count;
    const int64_t end = sequence.running ? chunk.first + chunk.count : sequence.num_tokens;
    free_pages -= PagesFor(sequence, end, capacity.page_tokens);
    free_slots -= !sequence.running;
  }
  EXPECT_GE(budget, 0);
  EXPECT_GE(free_pages, 0);
  EXPECT_GE(free_slots, 0);
  for (const SequenceId id : plan.admit) EXPECT_TRUE(chunked.contains(id));

  for (const SequenceId id : kept) {
    if (Remaining(by_id[id]) != 1) continue;
    const bool out_of_pages = kept.size() == 1;
    EXPECT_TRUE(chunked.contains(id) || out_of_pages) << id;
  }
  for (const StepChunk& chunk : plan.chunks) {
    const bool out_of_budget = budget == 0;
    const bool out_of_pages = !kept.empty() && chunk.sequence == kept.back();
    EXPECT_TRUE(chunk.last || out_of_budget || out_of_pages) << chunk.sequence;
  }
  if (plan.preempt.empty() && plan.admit.size() < claims.size()) {
    const SequenceInfo& first = by_id[claims[plan.admit.size()]];
    EXPECT_TRUE(budget == 0 || free_slots == 0 ||
                PagesFor(first, first.num_tokens, capacity.page_tokens) > free_pages);
  }
}

TEST(SchedulerPropertyTest, EveryPlanKeepsTheRules) {
  std::mt19937 random(7);
  for (int i = 0; i < 50'000 && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(::testing::Message() << "state " << i);
    const State state = RandomState(random);
    CheckPlan(state, Scheduler().Plan(state.sequences, state.capacity));
  }
}

}  // namespace
}  // namespace deltaserve
