#include "server/telemetry/cost_metrics.h"

#include <string>
#include <utility>

#include "server/telemetry/metric_families.h"

namespace deltaserve {

std::vector<prometheus::MetricFamily> CostMetrics::Collect() const {
  const DeviceAccount account = meter_.Account(clock_.Now());
  std::vector<prometheus::MetricFamily> families;

  prometheus::MetricFamily device =
      ScrapedCounter("deltaserve_device_seconds_total", "Time of the device, by what it did");
  AddSample(device, {{"state", "busy"}}, Seconds(account.AttributedNs() + account.running_ns));
  AddSample(device, {{"state", "overhead"}}, Seconds(account.overhead.device_ns));
  AddSample(device, {{"state", "idle"}}, Seconds(account.idle.device_ns));
  families.push_back(std::move(device));

  prometheus::MetricFamily attributed = ScrapedCounter("deltaserve_attributed_seconds_total",
                                                       "Time of the device attributed to requests");
  prometheus::MetricFamily cost =
      ScrapedCounter("deltaserve_cost_usd_total", "What requests cost, by phase");
  for (const DeviceAccount::Share& share : account.shares) {
    for (const Phase phase : kPhases) {
      const DeviceUse& use = share.use[phase];
      const ScrapedLabels labels = {
          {"model", share.model}, {"tenant", share.tenant}, {"phase", std::string(Name(phase))}};
      AddSample(attributed, labels, Seconds(use.device_ns));
      if (use.cost) AddSample(cost, labels, Usd(*use.cost));
    }
  }
  families.push_back(std::move(attributed));
  if (!cost.metric.empty()) families.push_back(std::move(cost));

  prometheus::MetricFamily idle = ScrapedCounter("deltaserve_idle_cost_usd_total",
                                                 "What the device cost while no request paid");
  if (account.idle.cost) AddSample(idle, {{"state", "idle"}}, Usd(*account.idle.cost));
  if (account.overhead.cost) AddSample(idle, {{"state", "overhead"}}, Usd(*account.overhead.cost));
  if (!idle.metric.empty()) families.push_back(std::move(idle));

  if (account.energy_uj) {
    prometheus::MetricFamily energy =
        ScrapedCounter("deltaserve_device_energy_joules_total", "Energy that the device used");
    AddSample(energy, {}, static_cast<double>(*account.energy_uj) * 1e-6);
    families.push_back(std::move(energy));
  }
  return families;
}

}  // namespace deltaserve
