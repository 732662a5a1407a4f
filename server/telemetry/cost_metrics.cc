#include "server/telemetry/cost_metrics.h"

#include <string>
#include <utility>

#include "server/telemetry/metric_families.h"

namespace deltaserve {

std::vector<prometheus::MetricFamily> CostMetrics::Collect() const {
  prometheus::MetricFamily device =
      ScrapedCounter("deltaserve_device_seconds_total", "Time of the device, by what it did");
  prometheus::MetricFamily attributed = ScrapedCounter("deltaserve_attributed_seconds_total",
                                                       "Time of the device attributed to requests");
  prometheus::MetricFamily cost =
      ScrapedCounter("deltaserve_cost_usd_total", "What requests cost, by phase");
  prometheus::MetricFamily idle = ScrapedCounter("deltaserve_idle_cost_usd_total",
                                                 "What the device cost while no request paid");
  prometheus::MetricFamily energy =
      ScrapedCounter("deltaserve_device_energy_joules_total", "Energy that the device used");

  for (const Device& metered : devices_) {
    const DeviceAccount account = metered.meter->Account(clock_.Now());
    const auto add = [&](prometheus::MetricFamily& family, ScrapedLabels labels, double value) {
      if (devices_.size() > 1) labels.push_back({"device", metered.name});
      AddSample(family, std::move(labels), value);
    };
    add(device, {{"state", "busy"}}, Seconds(account.AttributedNs() + account.running_ns));
    add(device, {{"state", "overhead"}}, Seconds(account.overhead.device_ns));
    add(device, {{"state", "idle"}}, Seconds(account.idle.device_ns));
    for (const DeviceAccount::Share& share : account.shares) {
      for (const Phase phase : kPhases) {
        const DeviceUse& use = share.use[phase];
        const ScrapedLabels labels = {
            {"model", share.model}, {"tenant", share.tenant}, {"phase", std::string(Name(phase))}};
        add(attributed, labels, Seconds(use.device_ns));
        if (use.cost) add(cost, labels, Usd(*use.cost));
      }
    }
    if (account.idle.cost) add(idle, {{"state", "idle"}}, Usd(*account.idle.cost));
    if (account.overhead.cost) add(idle, {{"state", "overhead"}}, Usd(*account.overhead.cost));
    if (account.energy_uj) add(energy, {}, static_cast<double>(*account.energy_uj) * 1e-6);
  }

  std::vector<prometheus::MetricFamily> families = {std::move(device), std::move(attributed)};
  for (prometheus::MetricFamily* family : {&cost, &idle, &energy}) {
    if (!family->metric.empty()) families.push_back(std::move(*family));
  }
  return families;
}

}  // namespace deltaserve
