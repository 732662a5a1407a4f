#include "server/telemetry/device_metrics.h"

#include <utility>

#include "server/telemetry/metric_families.h"

namespace deltaserve {

std::vector<prometheus::MetricFamily> DeviceMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  if (const auto ratio = device_.Utilization()) {
    AddSample(families.emplace_back(ScrapedGauge(
                  "deltaserve_device_utilization_ratio",
                  "Part of the last moments in which the device computed, for whomever")),
              {}, *ratio);
  }
  if (const auto memory = device_.ReadMemory()) {
    prometheus::MetricFamily& family = families.emplace_back(
        ScrapedGauge("deltaserve_device_memory_bytes", "Memory of the device, by all processes"));
    AddSample(family, {{"kind", "used"}}, static_cast<double>(memory->used));
    AddSample(family, {{"kind", "free"}}, static_cast<double>(memory->free));
  }
  return families;
}

}  // namespace deltaserve
