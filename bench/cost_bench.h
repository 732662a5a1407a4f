// What attribution rests on, and what it costs itself.
#ifndef DELTASERVE_BENCH_COST_BENCH_H_
#define DELTASERVE_BENCH_COST_BENCH_H_

#include "absl/status/status.h"
#include "bench/options.h"

namespace deltaserve::bench {

// Prints the time of steps as the cost model predicts it from MeasurePeaks() beside what they take,
// by phase, batch and length, for one kind after the other.
absl::Status RunPredictionBench(const Options& options);

// Prints the time of a decode step of the largest batch without observers, with those of the
// server, and with the gates sampled.
absl::Status RunTelemetryBench(const Options& options);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_COST_BENCH_H_
