// The kinds of residual stream. Which one a configuration wants: LoadResidualStream.
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_STREAMS_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_STREAMS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/model/residual_stream.h"

namespace deltaserve {

// x <- x + F(x), with a norm before each sublayer.
absl::StatusOr<std::unique_ptr<ResidualStream>> LoadAdditive(const ModelConfig& config,
                                                             const WeightLoader& loader);
// The delta rule on a vector, d_v = 1.
absl::StatusOr<std::unique_ptr<ResidualStream>> LoadDdlScalar(const ModelConfig& config,
                                                              const WeightLoader& loader);
// The delta rule on a d x d_v state that compressors read.
absl::StatusOr<std::unique_ptr<ResidualStream>> LoadDdlExpanded(const ModelConfig& config,
                                                                const WeightLoader& loader);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_STREAMS_H_
