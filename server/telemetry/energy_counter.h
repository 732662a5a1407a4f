#ifndef DELTASERVE_SERVER_TELEMETRY_ENERGY_COUNTER_H_
#define DELTASERVE_SERVER_TELEMETRY_ENERGY_COUNTER_H_

#include <cstdint>
#include <optional>

namespace deltaserve {

// The energy that a device has used since some moment. Called by one thread at a time.
class EnergyCounter {
 public:
  virtual ~EnergyCounter() = default;
  // Microjoules; never decreases. Absent: not measured, or not now.
  virtual std::optional<int64_t> Read() = 0;
};

// Of devices that do not measure it.
class NoEnergyCounter final : public EnergyCounter {
 public:
  std::optional<int64_t> Read() override { return std::nullopt; }
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_ENERGY_COUNTER_H_
