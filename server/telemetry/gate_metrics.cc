#include "server/telemetry/gate_metrics.h"

#include <algorithm>
#include <cmath>

#include "absl/types/span.h"
#include "server/telemetry/buckets.h"
#include "server/telemetry/metric_families.h"

namespace deltaserve {
namespace {

// Regimes of β: it leaves the state as it is, puts v in place of what is there, or goes beyond v.
constexpr float kMatchFrom = 0.25f;
constexpr float kOverFrom = 1.5f;

// Sorts values into a histogram's buckets, and adds them to it at once.
class Binner {
 public:
  explicit Binner(const Buckets& bounds) : bounds_(bounds), counts_(bounds.size() + 1) {}

  void Add(double value) {
    ++counts_[std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin()];
    sum_ += value;
  }
  void AddTo(prometheus::Histogram& histogram) const { histogram.ObserveMultiple(counts_, sum_); }

 private:
  const Buckets& bounds_;
  std::vector<double> counts_;
  double sum_ = 0;
};

}  // namespace

GateMetrics::GateMetrics(prometheus::Registry& registry, const std::vector<std::string>& models,
                         int64_t period)
    : period_(period),
      beta_bounds_(GateBuckets()),
      discrepancy_bounds_(DiscrepancyBuckets()),
      beta_(AddHistogram(registry, "deltaserve_gate_beta",
                         "Gate of a rewrite, 0 to 2, in sampled steps")),
      discrepancy_(AddHistogram(registry, "deltaserve_rewrite_discrepancy",
                                "Distance of the target from what the state held along k")),
      regime_(AddCounter(registry, "deltaserve_gate_regime_total",
                         "Rewrites in sampled steps: skip < 0.25 <= match < 1.5 <= over")) {
  for (const std::string& model : models) models_[model];
}

std::vector<GateMetrics::Site> GateMetrics::MakeSites(const std::string& model,
                                                      int64_t num_layers) {
  std::vector<Site> sites;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    for (const char* sublayer : {"attention", "mlp"}) {
      const prometheus::Labels labels = {
          {"model", model}, {"layer", std::to_string(layer)}, {"sublayer", sublayer}};
      const auto regime = [&](const char* name) {
        prometheus::Labels with_regime = labels;
        with_regime["regime"] = name;
        return &regime_.Add(with_regime);
      };
      Site& site = sites.emplace_back();
      site.beta = &beta_.Add(labels, beta_bounds_);
      site.discrepancy = &discrepancy_.Add(labels, discrepancy_bounds_);
      site.skip = regime("skip");
      site.match = regime("match");
      site.over = regime("over");
    }
  }
  return sites;
}

bool GateMetrics::WantsGates(std::string_view model) {
  const auto found = models_.find(model);
  if (found == models_.end()) return false;
  found->second.sampling = found->second.steps++ % period_ == 0;
  return found->second.sampling;
}

void GateMetrics::OnStep(const StepStats& step) {
  const auto found = models_.find(step.model);
  const GateValues& gates = step.gates;
  if (found == models_.end() || !found->second.sampling || gates.beta.empty()) return;
  Model& model = found->second;
  if (model.sites.empty()) model.sites = MakeSites(found->first, gates.num_layers);
  for (size_t i = 0; i < model.sites.size(); ++i) {
    Observe(model.sites[i], gates, static_cast<int64_t>(i));
  }
}

void GateMetrics::Observe(const Site& site, const GateValues& gates, int64_t index) const {
  Binner beta_bins(beta_bounds_);
  Binner discrepancy_bins(discrepancy_bounds_);
  int64_t skip = 0;
  int64_t over = 0;
  for (int64_t t = 0; t < gates.num_tokens; ++t) {
    const int64_t row = index * gates.num_tokens + t;
    const float beta = gates.beta[row];
    beta_bins.Add(beta);
    skip += beta < kMatchFrom;
    over += beta >= kOverFrom;
    double squares = 0;
    for (int64_t j = 0; j < gates.value_channels; ++j) {
      const int64_t at = row * gates.value_channels + j;
      const double difference = gates.v[at] - gates.proj[at];
      squares += difference * difference;
    }
    discrepancy_bins.Add(std::sqrt(squares));
  }
  beta_bins.AddTo(*site.beta);
  discrepancy_bins.AddTo(*site.discrepancy);
  site.skip->Increment(static_cast<double>(skip));
  site.match->Increment(static_cast<double>(gates.num_tokens - skip - over));
  site.over->Increment(static_cast<double>(over));
}

}  // namespace deltaserve
