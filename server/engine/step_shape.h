// The sizes that steps are padded to for a device that wants them to recur (StepTraits).
#ifndef DELTASERVE_SERVER_ENGINE_STEP_SHAPE_H_
#define DELTASERVE_SERVER_ENGINE_STEP_SHAPE_H_

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/backend.h"

namespace deltaserve {

inline constexpr int64_t kMaxPowerBucket = 256;
// Pages of the narrowest table: one that widened with every page would recur for a few steps only.
inline constexpr int64_t kMinTableWidth = 8;

// Rows of a step of `rows` single tokens: a power of two, from 256 on a multiple of that.
inline int64_t DecodeBucket(int64_t rows) {
  if (rows > kMaxPowerBucket) {
    return (rows + kMaxPowerBucket - 1) / kMaxPowerBucket * kMaxPowerBucket;
  }
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(rows, 1))));
}

// Rows of a step of `rows` single tokens on a device with these traits.
inline int64_t PaddedRows(const StepTraits& traits, int64_t rows) {
  return traits.recurring_shapes ? DecodeBucket(rows) : rows;
}

// Columns of the page table whose longest row has `pages`.
inline int64_t TableWidth(int64_t pages) {
  return static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(std::max(pages, kMinTableWidth))));
}

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_STEP_SHAPE_H_
