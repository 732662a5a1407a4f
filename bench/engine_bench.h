#ifndef DELTASERVE_BENCH_ENGINE_BENCH_H_
#define DELTASERVE_BENCH_ENGINE_BENCH_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/bench_model.h"
#include "bench/options.h"
#include "bench/results.h"

namespace deltaserve::bench {

// All models of the options at once, on one backend, so that their runs can take turns.
// RESOURCE_EXHAUSTED where memory does not allow that.
absl::StatusOr<std::vector<std::unique_ptr<BenchModel>>> LoadModels(const Options& options,
                                                                    MeteredBackend& backend);

using StepFunction = std::function<absl::StatusOr<double>()>;  // returns seconds

// The median of a burst: the steps of one cell in one round.
absl::StatusOr<double> BurstSeconds(const StepFunction& step);

// Engine and StepBatch alone, without scheduler and server. Fills `results.engine` and
// `results.limits`.
absl::Status RunEngineBench(const Options& options, Results& results);

// Prints where the time of each model's steps goes, op by op.
absl::Status RunProfile(const Options& options);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_ENGINE_BENCH_H_
