#ifndef DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "server/telemetry/device_monitor.h"

namespace deltaserve {

// A device as Prometheus sees it, asked anew at each scrape. What it does not tell is not there.
class DeviceMetrics final : public prometheus::Collectable {
 public:
  // `device` outlives this.
  explicit DeviceMetrics(const DeviceMonitor& device) : device_(device) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const DeviceMonitor& device_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_DEVICE_METRICS_H_
