#include "kernels/cpu/boundary_plan.h"

#include <algorithm>

namespace deltaserve::cpu {

TimeReadPlan PlanTimeRead(const BoundaryParams& p, int64_t num_ranges) {
  const int64_t taps_before = p.read_weight.dim(0) - 1;
  const int64_t tail_size = taps_before * p.src.dim(2);
  const int32_t* offsets = p.batch.query_offsets.As<int32_t>();
  const int32_t* slots = p.batch.state_slot.As<int32_t>();
  const auto range_begin = [&](int64_t n) { return p.batch.num_tokens * n / num_ranges; };

  TimeReadPlan plan;
  plan.ranges.resize(num_ranges);
  int64_t range = 0;
  for (int64_t s = 0; s < p.batch.num_sequences; ++s) {
    const int64_t run_begin = offsets[s], run_end = offsets[s + 1];
    if (run_begin == run_end) continue;
    while (range_begin(range + 1) <= run_begin) ++range;
    float* slot = taps_before > 0 ? p.tails.Row<float>(slots[s]) : nullptr;
    const float* old_tail = slot;
    if (p.batch.positions.As<int32_t>()[run_begin] == 0) {
      old_tail = nullptr;
    } else if (range_begin(range + 1) < run_end && slot != nullptr) {
      old_tail = plan.old_tails.emplace_back(slot, slot + tail_size).data();
    }
    for (int64_t begin = run_begin; begin < run_end;) {
      BoundarySpan span;
      span.begin = begin;
      span.end = std::min(run_end, range_begin(range + 1));
      span.warm_up = std::min(taps_before, begin - run_begin);
      if (begin - span.warm_up == run_begin) span.tail_in = old_tail;
      if (span.end == run_end) span.tail_out = slot;
      plan.recomputes |= span.warm_up > 0;
      plan.ranges[range].push_back(span);
      begin = span.end;
      if (begin < run_end) ++range;
    }
  }
  return plan;
}

}  // namespace deltaserve::cpu
