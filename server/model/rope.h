#ifndef DELTASERVE_SERVER_MODEL_ROPE_H_
#define DELTASERVE_SERVER_MODEL_ROPE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/config.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

// cos and sin of t * base^(-2n/R) for positions t < length and pairs n < R/2, in fp32 steps as the
// reference takes them (FORMAT.md 3.2 step 3). Absent where nothing rotates.
struct RopeTables {
  DeviceTensor cos;  // f32 [length, R/2]
  DeviceTensor sin;  // f32 [length, R/2]

  static absl::StatusOr<RopeTables> Make(const ModelConfig& config, int64_t length,
                                         const WeightLoader& loader);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_ROPE_H_
