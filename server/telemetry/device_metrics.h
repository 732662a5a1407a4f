#ifndef DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "server/telemetry/device_monitor.h"

namespace deltaserve {

// Devices as Prometheus sees them, asked anew at each scrape. What they do not tell is not there.
// Where there are several, the label `device` names them.
class DeviceMetrics final : public prometheus::Collectable {
 public:
  struct Device {
    std::string name;
    const DeviceMonitor* monitor;  // outlives this
  };
  explicit DeviceMetrics(std::vector<Device> devices) : devices_(std::move(devices)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::vector<Device> devices_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_
