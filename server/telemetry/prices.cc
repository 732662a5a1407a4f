#include "server/telemetry/prices.h"

#include "absl/numeric/int128.h"

namespace deltaserve {

std::optional<Picodollars> Prices::CostOf(int64_t device_ns,
                                          std::optional<int64_t> energy_uj) const {
  // An hour has as many nanoseconds as a kilowatt-hour has microjoules.
  constexpr int64_t kPerHour = 3'600'000'000'000;
  constexpr int64_t kPicodollars = 1000;  // of a nanodollar
  if (!per_device_hour && !(per_kwh && energy_uj)) return std::nullopt;
  absl::uint128 cost = 0;
  if (per_device_hour) cost += absl::uint128(*per_device_hour) * device_ns;
  if (per_kwh && energy_uj) cost += absl::uint128(*per_kwh) * *energy_uj;
  constexpr int64_t kDivisor = kPerHour / kPicodollars;
  return static_cast<Picodollars>(absl::Uint128Low64((cost + kDivisor / 2) / kDivisor));
}

}  // namespace deltaserve
