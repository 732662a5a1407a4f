#ifndef DELTASERVE_SERVER_TELEMETRY_NVML_DEVICE_H_
#define DELTASERVE_SERVER_TELEMETRY_NVML_DEVICE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/telemetry/device_monitor.h"
#include "server/telemetry/energy_counter.h"

namespace deltaserve {

inline constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";

// An NVIDIA device through NVIDIA's management library, which is loaded when it is opened: nothing
// of it is needed to build or to run elsewhere. What the device does not measure is absent: energy
// before Volta, utilization where it is partitioned (MIG). Thread-safe.
class NvmlDevice final : public EnergyCounter, public DeviceMonitor {
 public:
  // `index` counts the devices as NVML does, which is CUDA's order where
  // CUDA_DEVICE_ORDER=PCI_BUS_ID and all devices are visible. NOT_FOUND: no such library.
  // UNAVAILABLE: it is there and does not work, or has no such device.
  static absl::StatusOr<std::unique_ptr<NvmlDevice>> Open(
      int index, const std::string& library = kNvmlLibrary);
  ~NvmlDevice() override;

  std::optional<int64_t> Read() override;
  std::optional<double> Utilization() const override;
  std::optional<Memory> ReadMemory() const override;

 private:
  class Library;

  explicit NvmlDevice(std::unique_ptr<const Library> library);

  const std::unique_ptr<const Library> library_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_NVML_DEVICE_H_
