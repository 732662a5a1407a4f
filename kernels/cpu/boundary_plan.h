// How a boundary is shared among the workers.
#ifndef DELTASERVE_KERNELS_CPU_BOUNDARY_PLAN_H_
#define DELTASERVE_KERNELS_CPU_BOUNDARY_PLAN_H_

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace deltaserve::cpu {

// Consecutive tokens of one sequence, crossed by one worker one after the other. A run of tokens is
// cut in several when the read looks back (kTime); elsewhere the cuts mean nothing.
struct BoundarySpan {
  int64_t begin = 0, end = 0;
  int64_t warm_up = 0;             // tokens before begin whose state is recomputed for its taps
  const float* tail_in = nullptr;  // [K-1, d] left by the tokens before the first; null: zero
  float* tail_out = nullptr;       // where to leave it in turn; null: another span does
};

// The batch's tokens cut into equal ranges, one a worker, and those into spans at the ends of runs.
struct TimeReadPlan {
  std::vector<std::vector<BoundarySpan>> ranges;
  // Tails of runs that several ranges share, as they were: the last range may finish first.
  std::vector<std::vector<float>> old_tails;
  bool recomputes = false;  // a span reads tokens of the range before it
};

// For a read of kTime. The plan points into p.tails and itself.
TimeReadPlan PlanTimeRead(const BoundaryParams& p, int64_t num_ranges);

}  // namespace deltaserve::cpu

#endif  // DELTASERVE_KERNELS_CPU_BOUNDARY_PLAN_H_
