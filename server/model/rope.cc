#include "server/model/rope.h"

#include <cmath>

#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::StatusOr<RopeTables> RopeTables::Make(const ModelConfig& config, int64_t length,
                                            const WeightLoader& loader) {
  RopeTables tables;
  const int64_t rotary = config.RotaryDims();
  const int64_t pairs = rotary / 2;
  if (pairs == 0) return tables;
  std::vector<float> cos(length * pairs), sin(length * pairs);
  for (int64_t n = 0; n < pairs; ++n) {
    const float exponent = static_cast<float>(2 * n) / static_cast<float>(rotary);
    const float frequency = 1.0f / std::pow(static_cast<float>(config.rope_base), exponent);
    for (int64_t t = 0; t < length; ++t) {
      const float angle = static_cast<float>(t) * frequency;
      cos[t * pairs + n] = std::cos(angle);
      sin[t * pairs + n] = std::sin(angle);
    }
  }
  ASSIGN_OR_RETURN(tables.cos, loader.Upload(cos, {length, pairs}));
  ASSIGN_OR_RETURN(tables.sin, loader.Upload(sin, {length, pairs}));
  return tables;
}

}  // namespace deltaserve
