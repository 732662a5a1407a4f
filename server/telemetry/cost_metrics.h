#ifndef DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "server/api/clock.h"
#include "server/telemetry/cost_meter.h"

namespace deltaserve {

// The meters' accounts as Prometheus sees them, taken anew at each scrape: what the families add up
// to is the time from the start to the scrape, of each device. Where there are several devices, the
// label `device` names them. Thread-safe; all must outlive it.
class CostMetrics final : public prometheus::Collectable {
 public:
  struct Device {
    std::string name;
    CostMeter* meter;
  };
  CostMetrics(std::vector<Device> devices, const Clock& clock)
      : devices_(std::move(devices)), clock_(clock) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::vector<Device> devices_;
  const Clock& clock_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_
