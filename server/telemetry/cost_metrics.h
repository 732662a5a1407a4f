#ifndef DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "server/api/clock.h"
#include "server/telemetry/cost_meter.h"

namespace deltaserve {

// A meter's account as Prometheus sees it, taken anew at each scrape: what the families add up to
// is the time from the start to the scrape. Thread-safe; both must outlive it.
class CostMetrics final : public prometheus::Collectable {
 public:
  CostMetrics(CostMeter& meter, const Clock& clock) : meter_(meter), clock_(clock) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  CostMeter& meter_;
  const Clock& clock_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_COST_METRICS_H_
