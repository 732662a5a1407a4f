#ifndef DELTASERVE_SERVER_TELEMETRY_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/api/model_info.h"
#include "server/api/observers.h"

namespace deltaserve {

// The metrics of docs/api.md, counted from what the engine and the service report. Thread-safe.
// The time series of a model are looked up once, at the start: a report costs one hash and a few
// additions.
class Metrics final : public StepObserver, public RequestObserver {
 public:
  // Of the models of these names; what is reported of others is counted without a model.
  explicit Metrics(const std::vector<std::string>& models);
  ~Metrics() override;

  // Once a model is loaded.
  void SetModel(const ModelInfo& info, double load_seconds);

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad& load) override;

  void OnReceived(Method method) override;
  void OnFinished(Method method, std::string_view model, const absl::Status& status,
                  const Usage& usage, SteadyNs duration_ns) override;
  void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) override;

  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  struct Families;
  struct ModelSeries;

  const ModelSeries* Find(std::string_view model) const;

  const std::shared_ptr<prometheus::Registry> registry_;
  const std::unique_ptr<const Families> families_;
  absl::flat_hash_map<std::string, std::unique_ptr<const ModelSeries>> models_;  // immutable
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_METRICS_H_
