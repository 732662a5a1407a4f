#include "server/telemetry/device_metrics.h"

#include <utility>

#include "server/telemetry/metric_families.h"

namespace deltaserve {

std::vector<prometheus::MetricFamily> DeviceMetrics::Collect() const {
  prometheus::MetricFamily utilization =
      ScrapedGauge("deltaserve_device_utilization_ratio",
                   "Part of the last moments in which the device computed, for whomever");
  prometheus::MetricFamily memory =
      ScrapedGauge("deltaserve_device_memory_bytes", "Memory of the device, by all processes");
  for (const Device& device : devices_) {
    const auto add = [&](prometheus::MetricFamily& family, ScrapedLabels labels, double value) {
      if (devices_.size() > 1) labels.push_back({"device", device.name});
      AddSample(family, std::move(labels), value);
    };
    if (const auto ratio = device.monitor->Utilization()) add(utilization, {}, *ratio);
    if (const auto bytes = device.monitor->ReadMemory()) {
      add(memory, {{"kind", "used"}}, static_cast<double>(bytes->used));
      add(memory, {{"kind", "free"}}, static_cast<double>(bytes->free));
    }
  }
  std::vector<prometheus::MetricFamily> families;
  for (prometheus::MetricFamily* family : {&utilization, &memory}) {
    if (!family->metric.empty()) families.push_back(std::move(*family));
  }
  return families;
}

}  // namespace deltaserve
