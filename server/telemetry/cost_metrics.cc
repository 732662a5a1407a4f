#include "server/telemetry/cost_metrics.h"

#include <string>
#include <utility>

namespace deltaserve {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// Everything is one tenant's.
constexpr char kTenant[] = "default";

prometheus::MetricFamily Counter(const char* name, const char* help) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Counter;
  return family;
}

void Add(prometheus::MetricFamily& family, Labels labels, double value) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.counter.value = value;
}

double Seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

}  // namespace

std::vector<prometheus::MetricFamily> CostMetrics::Collect() const {
  const DeviceAccount account = meter_.Account(clock_.Now());
  std::vector<prometheus::MetricFamily> families;

  prometheus::MetricFamily device =
      Counter("deltaserve_device_seconds_total", "Time of the device, by what it did");
  Add(device, {{"state", "busy"}}, Seconds(account.AttributedNs() + account.running_ns));
  Add(device, {{"state", "overhead"}}, Seconds(account.overhead.device_ns));
  Add(device, {{"state", "idle"}}, Seconds(account.idle.device_ns));
  families.push_back(std::move(device));

  prometheus::MetricFamily attributed =
      Counter("deltaserve_attributed_seconds_total", "Time of the device attributed to requests");
  prometheus::MetricFamily cost =
      Counter("deltaserve_cost_usd_total", "What requests cost, by phase");
  for (const DeviceAccount::Model& model : account.models) {
    for (const Phase phase : kPhases) {
      const DeviceUse& use = model.use[phase];
      const Labels labels = {
          {"model", model.name}, {"tenant", kTenant}, {"phase", std::string(Name(phase))}};
      Add(attributed, labels, Seconds(use.device_ns));
      if (use.cost) Add(cost, labels, Usd(*use.cost));
    }
  }
  families.push_back(std::move(attributed));
  if (!cost.metric.empty()) families.push_back(std::move(cost));

  prometheus::MetricFamily idle =
      Counter("deltaserve_idle_cost_usd_total", "What the device cost while no request paid");
  if (account.idle.cost) Add(idle, {{"state", "idle"}}, Usd(*account.idle.cost));
  if (account.overhead.cost) Add(idle, {{"state", "overhead"}}, Usd(*account.overhead.cost));
  if (!idle.metric.empty()) families.push_back(std::move(idle));

  if (account.energy_uj) {
    prometheus::MetricFamily energy =
        Counter("deltaserve_device_energy_joules_total", "Energy that the device used");
    Add(energy, {}, static_cast<double>(*account.energy_uj) * 1e-6);
    families.push_back(std::move(energy));
  }
  return families;
}

}  // namespace deltaserve
