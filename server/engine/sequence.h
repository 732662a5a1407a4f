#ifndef DELTASERVE_SERVER_ENGINE_SEQUENCE_H_
#define DELTASERVE_SERVER_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <vector>

#include "server/api/step_plan.h"

namespace deltaserve {

// A row of tokens that the device computes: a prompt and what follows it, or a text to be scored.
struct Sequence {
  SequenceId id = 0;
  std::vector<int32_t> tokens;  // known ones
  int64_t num_tokens = 0;  // of these, the ones to compute: scoring needs no logits of the last
  int64_t num_computed = 0;
  bool running = false;            // holds a slot and pages
  bool last_id_on_device = false;  // tokens.back() is what was sampled last into its slot
  bool done = false;

  // Forks share the first `shared_tokens` with their parent, and wait until it has computed them.
  // It holds them for as long as any of its forks waits, and so a fork that was preempted meanwhile
  // forks anew: a prefix of its own might find no room beside the parent's.
  SequenceId parent = 0;  // 0: none, or it is gone
  int64_t shared_tokens = 0;
  bool has_forks = false;

  bool computed() const { return num_computed == num_tokens; }
  bool waits_to_fork() const { return parent != 0 && !running && !done; }
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_SEQUENCE_H_
