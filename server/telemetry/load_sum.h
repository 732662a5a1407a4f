#ifndef DELTASERVE_SERVER_TELEMETRY_LOAD_SUM_H_
#define DELTASERVE_SERVER_TELEMETRY_LOAD_SUM_H_

#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"

namespace deltaserve {

// Several devices serve the same models: their observer hears of the sum of a model's loads
// wherever the load of one device is another than before (none, at first), and of everything else
// as it comes: most steps change no load, and then cost no lock. It must outlive this, and be
// thread-safe where there are several devices.
class LoadSum {
 public:
  explicit LoadSum(StepObserver& observer) : observer_(observer) {}

  // For one device's engine. Before the first step of any of them.
  StepObserver& AddDevice() { return devices_.emplace_back(*this); }

 private:
  class Device final : public StepObserver {
   public:
    explicit Device(LoadSum& sum) : sum_(sum) {}

    void OnStepBegin(std::string_view model, SteadyNs begin) override {
      sum_.observer_.OnStepBegin(model, begin);
    }
    bool WantsGates(std::string_view model) override { return sum_.observer_.WantsGates(model); }
    void OnStep(const StepStats& step) override { sum_.observer_.OnStep(step); }
    void OnLoad(const ModelLoad& load) override;

   private:
    LoadSum& sum_;
    std::map<std::string, ModelLoad, std::less<>> last_;  // engine thread only
  };

  // `change`: what has come to the load of a device.
  void Add(std::string_view model, const ModelLoad& change);

  StepObserver& observer_;
  std::deque<Device> devices_;
  Mutex mutex_;
  std::map<std::string, ModelLoad, std::less<>> sums_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_LOAD_SUM_H_
