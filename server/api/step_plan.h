// What the scheduler decides: which tokens of which sequences the next step computes.
#ifndef DELTASERVE_SERVER_API_STEP_PLAN_H_
#define DELTASERVE_SERVER_API_STEP_PLAN_H_

#include <cstdint>
#include <vector>

namespace deltaserve {

using SequenceId = uint64_t;

// Tokens [first, first + count) of a sequence.
struct StepChunk {
  SequenceId sequence = 0;
  int64_t first = 0;
  int64_t count = 0;
  bool last = false;  // reaches the last known token: its logits sample the next one
  friend bool operator==(const StepChunk&, const StepChunk&) = default;
};

struct StepPlan {
  std::vector<StepChunk> chunks;
  std::vector<SequenceId> admit;    // of these, the ones that have no slot yet, in order
  std::vector<SequenceId> preempt;  // give up slot and pages, before the chunks; none has a chunk
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_STEP_PLAN_H_
