// The models that are measured: random checkpoints of the shapes that count, kept between runs.
#ifndef DELTASERVE_BENCH_RANDOM_MODELS_H_
#define DELTASERVE_BENCH_RANDOM_MODELS_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "server/model/config.h"

namespace deltaserve::bench {

// `shape`: "small", "medium", or "tiny", which is there to test the benchmark itself.
ModelConfig ShapeConfig(const std::string& shape, ResidualKind kind);

// The folder of a checkpoint of that configuration under `cache_dir`, written if it is not there
// yet or was made for another configuration.
absl::StatusOr<std::filesystem::path> RandomModel(const std::filesystem::path& cache_dir,
                                                  const std::string& shape, ResidualKind kind,
                                                  DType stored);

}  // namespace deltaserve::bench

#endif  // DELTASERVE_BENCH_RANDOM_MODELS_H_
