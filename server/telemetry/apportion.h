#ifndef DELTASERVE_SERVER_TELEMETRY_APPORTION_H_
#define DELTASERVE_SERVER_TELEMETRY_APPORTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace deltaserve {

// Splits `total` in proportion to `weights`, by the method of the largest remainder: every part is
// its exact share rounded down or up, and the parts add up to the total. Of equal remainders the
// one with the smaller key is rounded up first. Weights that are all zero count as equal.
//
// `total` and the weights are not negative, keys are distinct, and there is at least one.
std::vector<int64_t> Apportion(int64_t total, absl::Span<const int64_t> weights,
                               absl::Span<const uint64_t> keys);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_APPORTION_H_
