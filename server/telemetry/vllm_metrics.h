#ifndef DELTASERVE_SERVER_TELEMETRY_VLLM_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_VLLM_METRICS_H_

#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/api/observers.h"

namespace deltaserve {

// The same under the names and labels that vLLM gives to metrics, for dashboards and autoscalers
// that read those (docs/api.md lists them). What Metrics counts, too, has the same value there.
// Thread-safe.
class VllmMetrics final : public StepObserver, public RequestObserver {
 public:
  // Of the models of these names; others are left out.
  explicit VllmMetrics(const std::vector<std::string>& models);
  ~VllmMetrics() override;

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad& load) override;

  void OnReceived(Method) override {}
  void OnFinished(Method method, std::string_view model, const absl::Status& status,
                  const Usage& usage, SteadyNs duration_ns) override;
  void OnSampleDone(std::string_view model, const SampleStats& sample) override;
  void OnInterTokenLatency(std::string_view model, SteadyNs per_token_ns, int64_t tokens) override;

  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  struct Families;
  struct ModelSeries;

  const ModelSeries* Find(std::string_view model) const;

  const std::shared_ptr<prometheus::Registry> registry_;
  absl::flat_hash_map<std::string, std::unique_ptr<const ModelSeries>> models_;  // immutable
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_VLLM_METRICS_H_
