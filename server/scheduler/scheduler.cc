#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace deltaserve {
namespace {

// In the order of their claims.
using Line = std::vector<const SequenceInfo*>;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t Remaining(const SequenceInfo& sequence) {
  return sequence.num_tokens - sequence.num_computed;
}

// Pages to be found before the tokens up to `end` can be computed.
int64_t NewPages(const SequenceInfo& sequence, int64_t end, int64_t page_tokens) {
  const int64_t grown = CeilDiv(end, page_tokens) - sequence.pages_held;
  return std::max<int64_t>(0, grown) + (sequence.next_page_shared ? 1 : 0);
}

// The most tokens, at most `count`, for which `free_pages` do.
int64_t Shorten(const SequenceInfo& sequence, int64_t count, int64_t free_pages,
                int64_t page_tokens) {
  const int64_t grown = free_pages - (sequence.next_page_shared ? 1 : 0);
  if (grown < 0) return 0;
  const int64_t end = (sequence.pages_held + grown) * page_tokens;
  return std::clamp<int64_t>(end - sequence.num_computed, 0, count);
}

StepChunk Chunk(const SequenceInfo& sequence, int64_t count) {
  return {sequence.id, sequence.num_computed, count, count == Remaining(sequence)};
}

// Tokens for each of `running`: decodes before prefills, and the older first. Takes them from
// `budget`.
std::vector<int64_t> ShareOut(const Line& running, int64_t& budget) {
  std::vector<int64_t> counts(running.size(), 0);
  const auto give = [&](bool to_decodes) {
    for (size_t i = 0; i < running.size(); ++i) {
      const int64_t remaining = Remaining(*running[i]);
      if ((remaining == 1) != to_decodes) continue;
      counts[i] = std::min(remaining, budget);
      budget -= counts[i];
    }
  };
  give(/*to_decodes=*/true);
  give(/*to_decodes=*/false);
  return counts;
}

// The chunks of `running`, their tokens and pages taken from `left`; or nothing, where the youngest
// has to go.
std::optional<std::vector<StepChunk>> Fit(const Line& running, Capacity& left) {
  Capacity rest = left;
  const std::vector<int64_t> counts = ShareOut(running, rest.token_budget);
  std::vector<StepChunk> chunks;
  for (size_t i = 0; i < running.size(); ++i) {
    const SequenceInfo& sequence = *running[i];
    int64_t count = counts[i];
    if (count == 0) continue;
    if (NewPages(sequence, sequence.num_computed + count, rest.page_tokens) > rest.free_pages) {
      const bool youngest = i + 1 == running.size();
      if (!youngest) return std::nullopt;
      count = Shorten(sequence, count, rest.free_pages, rest.page_tokens);
      rest.token_budget += counts[i] - count;
      if (count == 0) {
        const bool oldest = i == 0;
        if (!oldest) return std::nullopt;
        break;
      }
    }
    rest.free_pages -= NewPages(sequence, sequence.num_computed + count, rest.page_tokens);
    chunks.push_back(Chunk(sequence, count));
  }
  left = rest;
  return chunks;
}

// Returns the first that does not fit, or null.
const SequenceInfo* Admit(const Line& waiting, Capacity left, StepPlan& plan) {
  for (const SequenceInfo* sequence : waiting) {
    const int64_t pages = NewPages(*sequence, sequence->num_tokens, left.page_tokens);
    if (left.token_budget == 0 || left.free_slots == 0 || pages > left.free_pages) return sequence;
    const int64_t count = std::min(Remaining(*sequence), left.token_budget);
    plan.chunks.push_back(Chunk(*sequence, count));
    plan.admit.push_back(sequence->id);
    left.token_budget -= count;
    --left.free_slots;
    left.free_pages -= pages;
  }
  return nullptr;
}

}  // namespace

StepPlan Scheduler::Plan(absl::Span<const SequenceInfo> sequences, const Capacity& capacity) const {
  Line running;
  Line waiting;
  for (const SequenceInfo& sequence : sequences) {
    if (sequence.running) {
      running.push_back(&sequence);
    } else if (Remaining(sequence) > 0) {
      waiting.push_back(&sequence);
    }
  }

  StepPlan plan;
  Capacity left = capacity;
  const auto preempt_youngest = [&] {
    plan.preempt.push_back(running.back()->id);
    left.free_pages += running.back()->pages_freed;
    running.pop_back();
  };

  std::optional<std::vector<StepChunk>> chunks;
  while (!(chunks = Fit(running, left))) preempt_youngest();
  plan.chunks = *std::move(chunks);

  if (plan.preempt.empty()) {
    const SequenceInfo* kept_out = Admit(waiting, left, plan);
    const bool stalled = plan.chunks.empty() && kept_out != nullptr && left.token_budget > 0;
    // Both lie in `sequences`, the older first.
    if (stalled && !running.empty() && running.back() > kept_out) preempt_youngest();
  }
  return plan;
}

}  // namespace deltaserve
