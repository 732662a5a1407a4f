#ifndef DELTASERVE_SERVER_CACHE_STATE_SLOTS_H_
#define DELTASERVE_SERVER_CACHE_STATE_SLOTS_H_

#include <cstdint>
#include <vector>

namespace deltaserve {

// Hands out rows of the per-sequence state (tails, last sampled ids). Slot 0 is reserved for
// padding. A slot's content is undefined when handed out: a sequence that starts at position 0
// assumes zero, a fork copies its parent's. Not thread-safe.
class StateSlots {
 public:
  explicit StateSlots(int64_t num_slots);  // slot 0 included

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return num_slots_ - 1 - num_free(); }

  int32_t Allocate();  // one must be free
  void Release(int32_t slot);

 private:
  int64_t num_slots_;
  std::vector<int32_t> free_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_CACHE_STATE_SLOTS_H_
