#ifndef DELTASERVE_BENCH_SERVER_BENCH_H_
#define DELTASERVE_BENCH_SERVER_BENCH_H_

#include "absl/status/status.h"
#include "bench/options.h"
#include "bench/results.h"

namespace deltaserve::bench {

// The real server over loopback, one process a residual kind, all of them up at once and loaded in
// turns. Fills `results.server`.
absl::Status RunServerBench(const Options& options, Results& results);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_SERVER_BENCH_H_
