#ifndef DELTASERVE_SERVER_MONITORING_H_
#define DELTASERVE_SERVER_MONITORING_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/accounts.h"
#include "server/api/clock.h"
#include "server/api/model_info.h"
#include "server/api/observers.h"
#include "server/device.h"
#include "server/options.h"
#include "server/telemetry/gate_metrics.h"
#include "server/telemetry/load_sum.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_server.h"
#include "server/telemetry/vllm_metrics.h"

namespace deltaserve {

// What is to be seen of the server from outside: the metrics that engines and service report to,
// whether or not anybody asks for them. Those who report must end before it.
class Monitoring {
 public:
  explicit Monitoring(const Options& options);

  // Before any step. A model may be told of once per device.
  void SetModel(const ModelInfo& info, double load_seconds) {
    metrics_.SetModel(info, load_seconds);
  }
  // The observer of one more device's steps, for its engine's thread.
  StepObserver& AddDevice();
  RequestObserver& requests() { return requests_; }  // thread-safe

  // Serves the metrics and, asked anew at each scrape on the server's threads, what the devices,
  // the accounts and `is_well` say. All of them, and this, outlive the server. Null:
  // options.metrics is empty. MetricsServer::Start's statuses.
  absl::StatusOr<std::unique_ptr<MetricsServer>> Serve(const Options& options,
                                                       std::deque<Device>& devices,
                                                       const Clock& clock, Accounts& accounts,
                                                       std::function<bool()> is_well);

 private:
  // Of all devices, or of all requests.
  template <typename Observer>
  std::vector<Observer*> Observers();

  struct OfDevice {
    OfDevice(LoadSum& load_sum, prometheus::Registry& registry,
             const std::vector<std::string>& models)
        : gates(registry, models), steps({&load_sum.AddDevice(), &gates}) {}

    GateMetrics gates;
    StepObservers steps;
  };

  const std::vector<std::string> models_;  // their names
  Metrics metrics_;
  std::optional<VllmMetrics> vllm_metrics_;
  StepObservers all_steps_;
  RequestObservers requests_;
  LoadSum load_sum_;
  std::deque<OfDevice> devices_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MONITORING_H_
