#include "server/cache/state_slots.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

namespace deltaserve {

StateSlots::StateSlots(int64_t num_slots) : num_slots_(num_slots) {
  assert(num_slots >= 1 && num_slots <= std::numeric_limits<int32_t>::max());
  free_.resize(num_slots - 1);
  std::iota(free_.rbegin(), free_.rend(), 1);
}

int32_t StateSlots::Allocate() {
  assert(!free_.empty());
  const int32_t slot = free_.back();
  free_.pop_back();
  return slot;
}

void StateSlots::Release(int32_t slot) {
  assert(slot > 0 && slot < num_slots_);
  assert(std::find(free_.begin(), free_.end(), slot) == free_.end());
  free_.push_back(slot);
}

}  // namespace deltaserve
