// The audit of a DDL model's gates: what they do in real steps.
#ifndef DELTASERVE_SERVER_TELEMETRY_GATE_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_GATE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/observers.h"
#include "server/telemetry/buckets.h"

namespace deltaserve {

// Takes β and the rewrite's discrepancy, |v - k^T X| over the value channels, of every token, layer
// and sublayer of one step in `period` of each model. Used on the engine thread only; scrapes go to
// the registry.
class GateMetrics final : public StepObserver {
 public:
  static constexpr int64_t kPeriod = 64;

  // Of the models of these names; others are left out. The registry must outlive it.
  GateMetrics(prometheus::Registry& registry, const std::vector<std::string>& models,
              int64_t period = kPeriod);

  bool WantsGates(std::string_view model) override;
  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  // Of one sublayer of one layer.
  struct Site {
    prometheus::Histogram* beta;
    prometheus::Histogram* discrepancy;
    prometheus::Counter* skip;
    prometheus::Counter* match;
    prometheus::Counter* over;
  };
  struct Model {
    int64_t steps = 0;
    bool sampling = false;    // the step under way
    std::vector<Site> sites;  // [L, 2]; empty before the first sample
  };

  std::vector<Site> MakeSites(const std::string& model, int64_t num_layers);
  // `index` is the site's in [L, 2].
  void Observe(const Site& site, const GateValues& gates, int64_t index) const;

  const int64_t period_;
  const Buckets beta_bounds_;
  const Buckets discrepancy_bounds_;
  prometheus::Family<prometheus::Histogram>& beta_;
  prometheus::Family<prometheus::Histogram>& discrepancy_;
  prometheus::Family<prometheus::Counter>& regime_;
  std::map<std::string, Model, std::less<>> models_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_GATE_METRICS_H_
