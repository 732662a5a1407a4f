#ifndef DELTASERVE_PROTO_USD_H_
#define DELTASERVE_PROTO_USD_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace deltaserve {

// Decimal places of the units that amounts of money are held in.
inline constexpr int kNanodollarPlaces = 9;
inline constexpr int kPicodollarPlaces = 12;

// A decimal of USD as messages have it, "2.49", exactly, in units of 10^-`places` USD.
// INVALID_ARGUMENT: it is none, has more places, or exceeds a million.
absl::StatusOr<int64_t> ParseUsd(absl::string_view text, int places);

}  // namespace deltaserve

#endif  // DELTASERVE_PROTO_USD_H_
