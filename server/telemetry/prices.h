#ifndef DELTASERVE_SERVER_TELEMETRY_PRICES_H_
#define DELTASERVE_SERVER_TELEMETRY_PRICES_H_

#include <cstdint>
#include <optional>

#include "server/api/result.h"

namespace deltaserve {

// 1e-9 USD, the unit of prices.
using Nanodollars = int64_t;

// What a device costs. They hold for as long as the process runs.
struct Prices {
  std::optional<Nanodollars> per_device_hour = {};
  std::optional<Nanodollars> per_kwh = {};  // beside it, where energy is measured

  // Of a total of time and energy, rounded once, halves up. Absent: no price says anything of it.
  std::optional<Picodollars> CostOf(int64_t device_ns, std::optional<int64_t> energy_uj) const;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_PRICES_H_
