#ifndef DELTASERVE_SERVER_TELEMETRY_DEVICE_MONITOR_H_
#define DELTASERVE_SERVER_TELEMETRY_DEVICE_MONITOR_H_

#include <cstdint>
#include <optional>

namespace deltaserve {

// What a device tells of itself at this moment; absent: nothing, or not now. Thread-safe.
class DeviceMonitor {
 public:
  virtual ~DeviceMonitor() = default;

  // The part of the last moments, at most a second, in which it computed: 0 to 1.
  virtual std::optional<double> Utilization() const = 0;

  struct Memory {
    int64_t used = 0;  // bytes, by all processes
    int64_t free = 0;
  };
  virtual std::optional<Memory> ReadMemory() const = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_DEVICE_MONITOR_H_
