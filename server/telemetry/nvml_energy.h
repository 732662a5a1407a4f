#ifndef DELTASERVE_SERVER_TELEMETRY_NVML_ENERGY_H_
#define DELTASERVE_SERVER_TELEMETRY_NVML_ENERGY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/telemetry/energy_counter.h"

namespace deltaserve {

inline constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";

// The energy counter of an NVIDIA device, through NVIDIA's management library, which is loaded now:
// nothing of it is needed to build or to run elsewhere. `index` counts the devices as NVML does,
// which is CUDA's order where CUDA_DEVICE_ORDER=PCI_BUS_ID and all devices are visible.
//
// NOT_FOUND: no such library. UNAVAILABLE: it is there and does not work, or the device does not
// measure its energy (before Volta).
absl::StatusOr<std::unique_ptr<EnergyCounter>> OpenNvmlEnergyCounter(
    int index, const std::string& library = kNvmlLibrary);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_NVML_ENERGY_H_
