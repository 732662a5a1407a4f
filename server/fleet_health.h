#ifndef DELTASERVE_SERVER_FLEET_HEALTH_H_
#define DELTASERVE_SERVER_FLEET_HEALTH_H_

#include <spdlog/logger.h>

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/api/request.h"

namespace deltaserve {

struct DeviceState {
  absl::Status status;  // not OK: the device is lost
  // How long it has had work and finished no step.
  SteadyNs stalled_for = 0;
};

// Whether requests are served, and what the log says of that.
class FleetHealth {
 public:
  // `states`, of the same devices at each call, is called on any thread; the log outlives this. A
  // device has stalled after `stall_limit`.
  FleetHealth(std::function<std::vector<DeviceState>()> states, absl::Duration stall_limit,
              spdlog::logger& log);

  // Some device works, and none that works has stalled. Any thread.
  bool IsWell() const;

  // The rest is one thread's, the watchdog's. IsWell; each device that is lost gets into the log,
  // once.
  bool Watch();
  // IsWell has changed.
  void LogChange(bool well) const;

 private:
  const std::function<std::vector<DeviceState>()> states_;
  const SteadyNs stall_limit_;
  spdlog::logger& log_;
  std::vector<bool> told_;  // by device: that it is lost
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_FLEET_HEALTH_H_
