// Which tokens the next step computes. Pure policy: no clock, no device, no lock, no state.
#ifndef DELTASERVE_SERVER_SCHEDULER_SCHEDULER_H_
#define DELTASERVE_SERVER_SCHEDULER_SCHEDULER_H_

#include <cstdint>

#include "absl/types/span.h"
#include "server/api/step_plan.h"

namespace deltaserve {

// A sequence as the scheduler sees it.
struct SequenceInfo {
  SequenceId id = 0;
  int64_t num_tokens = 0;    // known tokens; the next id is sampled when all are computed
  int64_t num_computed = 0;  // of these; of a fork that waits: what it will share with its parent
  bool running = false;      // holds its slot and pages
  int64_t pages_held = 0;    // pages in its table; of a fork that waits: those it will share
  int64_t pages_freed = 0;   // of these, those that preempting it surely frees
  bool next_page_shared = false;  // its next token goes to a page that others hold too
};

struct Capacity {
  int64_t token_budget = 0;  // of one step; at least as many as sequences can run
  int64_t free_pages = 0;
  int64_t free_slots = 0;
  int64_t page_tokens = 0;
};

class Scheduler {
 public:
  // `sequences` from the oldest to the youngest, which is also the order of their claims:
  //  1. running ones that need one token (decode) always get it; what the budget has left goes to
  //     running prefills, oldest first, in chunks;
  //  2. where pages run out, the youngest running sequence is preempted, again and again, until the
  //     older ones' fit. Once the one in need is itself the youngest, its chunk is shortened to the
  //     pages there are; without any, it is preempted, unless it is the only one left: that one
  //     waits for the pages of those preempted to come free;
  //  3. if nobody was preempted, waiting ones are admitted in order while budget, a slot, and the
  //     pages of all their known tokens are there. The first that does not fit ends it: nobody
  //     overtakes;
  //  4. if nothing at all would run so, because sequences that have all their tokens computed hold
  //     what the first waiting one needs, the youngest running one goes, if it is the younger.
  // Sequences with nothing to compute get no chunk. Chunks come in the order of `sequences`, those
  // of the admitted last. A plan may preempt and hold no chunk: the next one will.
  //
  // So the oldest sequence always gets on, provided that it fits the cache together with what it is
  // forked from.
  StepPlan Plan(absl::Span<const SequenceInfo> sequences, const Capacity& capacity) const;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SCHEDULER_SCHEDULER_H_
