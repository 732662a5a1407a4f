#ifndef DELTASERVE_SERVER_BILLING_COST_FORECAST_H_
#define DELTASERVE_SERVER_BILLING_COST_FORECAST_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"
#include "server/api/request.h"
#include "server/model/cost_model.h"
#include "server/telemetry/prices.h"

namespace deltaserve {

// How much longer steps take than a cost model says, at worst, by the size of the step: small ones
// are mostly overhead. Of each size it keeps the mean and the mean deviation, and takes four
// deviations beyond the mean for the worst, as TCP does of round trips (RFC 6298); a sum of n steps
// strays from n means by the root of n only.
class StepTimes {
 public:
  void Add(double modelled_ns, double measured_ns);
  // Of `steps` that the model gives `modelled_ns` each, or of parts as large of larger ones.
  double WorstNs(double modelled_ns, int64_t steps = 1) const;

 private:
  struct Ratio {
    int64_t count = 0;
    double mean = 0;
    double deviation = 0;
  };

  std::array<Ratio, 64> sizes_;  // by the binary logarithm of the modelled time
};

// What a request may cost at worst: computed alone on the device, to its last token, as slowly as
// steps have been of late. Not in it: what is computed anew after a preemption. Thread-safe.
class CostForecast final : public StepObserver {
 public:
  CostForecast(const Prices& prices, int64_t max_batch_tokens)
      : prices_(prices), max_batch_tokens_(max_batch_tokens) {}

  void AddModel(std::string_view name, const CostModel& cost);

  // 0: of a model that was not added, or without a price.
  Picodollars WorstCase(const GenerateRequest& request) const;
  Picodollars WorstCase(const ScoreRequest& request) const;

  // What a request took, from which is learnt how much energy comes with the time.
  void OnUsed(const DeviceUse& use);

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  struct Model {
    CostModel cost;
    StepTimes times;
  };

  const Model* FindLocked(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of `tokens` in as many steps as they need, of which `rows` want logits.
  double PromptNs(const Model& model, int64_t tokens, int64_t rows) const;
  Picodollars CostLocked(double device_ns) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Prices prices_;
  const int64_t max_batch_tokens_;
  mutable Mutex mutex_;
  std::map<std::string, Model, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  // Over all requests whose energy is known.
  double used_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  double used_uj_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_COST_FORECAST_H_
