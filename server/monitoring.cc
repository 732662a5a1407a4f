#include "server/monitoring.h"

#include <utility>

#include "server/telemetry/cost_metrics.h"
#include "server/telemetry/device_metrics.h"
#include "server/telemetry/server_metrics.h"
#include "server/telemetry/tenant_metrics.h"

namespace deltaserve {
namespace {

std::vector<std::string> NamesOf(const std::vector<Options::Model>& models) {
  std::vector<std::string> names;
  for (const Options::Model& model : models) names.push_back(model.name);
  return names;
}

}  // namespace

Monitoring::Monitoring(const Options& options)
    : models_(NamesOf(options.models)),
      metrics_(models_),
      vllm_metrics_(options.metrics_compat == "vllm" ? std::make_optional<VllmMetrics>(models_)
                                                     : std::nullopt),
      all_steps_(Observers<StepObserver>()),
      requests_(Observers<RequestObserver>()),
      load_sum_(all_steps_) {}

template <typename Observer>
std::vector<Observer*> Monitoring::Observers() {
  std::vector<Observer*> observers = {&metrics_};
  if (vllm_metrics_) observers.push_back(&*vllm_metrics_);
  return observers;
}

StepObserver& Monitoring::AddDevice() {
  return devices_.emplace_back(load_sum_, *metrics_.registry(), models_).steps;
}

absl::StatusOr<std::unique_ptr<MetricsServer>> Monitoring::Serve(const Options& options,
                                                                 std::deque<Device>& devices,
                                                                 const Clock& clock,
                                                                 Accounts& accounts,
                                                                 std::function<bool()> is_well) {
  if (options.metrics.empty()) return nullptr;
  const auto state = [is_well = std::move(is_well), max_waiting = options.max_queued_requests,
                      ledger = accounts.ledger()] {
    ServerState state = {.engine_healthy = is_well(), .max_waiting = max_waiting};
    if (ledger != nullptr) {
      state.ledger = {.healthy = ledger->status().ok(), .lost_records = ledger->num_lost()};
    }
    return state;
  };
  std::vector<CostMetrics::Device> metered;
  std::vector<DeviceMetrics::Device> monitored;
  for (Device& device : devices) {
    const std::string name(device.name());
    metered.push_back({name, &device.meter()});
    if (device.nvml() != nullptr) monitored.push_back({name, device.nvml()});
  }
  MetricsServer::Sources sources = {metrics_.registry(),
                                    std::make_shared<CostMetrics>(std::move(metered), clock),
                                    std::make_shared<ServerMetrics>(state),
                                    std::make_shared<DeviceMetrics>(std::move(monitored))};
  if (vllm_metrics_) sources.push_back(vllm_metrics_->registry());
  if (accounts.ledger() != nullptr) {
    sources.push_back(
        std::make_shared<TenantMetrics>([&accounts] { return accounts.TenantAccounts(); }));
  }
  return MetricsServer::Start(options.metrics, std::move(sources));
}

}  // namespace deltaserve
