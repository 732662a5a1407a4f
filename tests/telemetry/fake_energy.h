#ifndef DELTASERVE_TESTS_TELEMETRY_FAKE_ENERGY_H_
#define DELTASERVE_TESTS_TELEMETRY_FAKE_ENERGY_H_

#include <optional>

#include "server/telemetry/energy_counter.h"

namespace deltaserve {

// Shows what a test says.
class FakeEnergyCounter final : public EnergyCounter {
 public:
  std::optional<int64_t> Read() override {
    ++reads;
    return microjoules;
  }

  std::optional<int64_t> microjoules;
  int reads = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_TELEMETRY_FAKE_ENERGY_H_
