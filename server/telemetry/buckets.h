// Histogram boundaries: those of vLLM, so that dashboards carry over, but from 1 ms on, since small
// models answer faster than its first bucket.
#ifndef DELTASERVE_SERVER_TELEMETRY_BUCKETS_H_
#define DELTASERVE_SERVER_TELEMETRY_BUCKETS_H_

#include <vector>

namespace deltaserve {

using Buckets = std::vector<double>;

// Seconds.
Buckets RequestDurationBuckets();
Buckets TimeToFirstTokenBuckets();
Buckets InterTokenLatencyBuckets();
Buckets StepDurationBuckets();

// Tokens or sequences of a step.
Buckets BatchBuckets();

// β of a gate, in (0, 2): finer around its three landmarks.
Buckets GateBuckets();
// Of a rewrite; states grow with depth.
Buckets DiscrepancyBuckets();

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_BUCKETS_H_
