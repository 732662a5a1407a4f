// Whom the time of a device was spent on.
#ifndef DELTASERVE_SERVER_TELEMETRY_COST_METER_H_
#define DELTASERVE_SERVER_TELEMETRY_COST_METER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"
#include "server/model/cost_model.h"
#include "server/telemetry/energy_counter.h"
#include "server/telemetry/prices.h"

namespace deltaserve {

// The account of a device from `begin` to `end`. Every nanosecond is in one place:
//   AttributedNs() + running_ns + overhead.device_ns + idle.device_ns == end - begin.
struct DeviceAccount {
  // What a tenant's requests made a model spend.
  struct Share {
    std::string model;
    std::string tenant;
    ByPhase<DeviceUse> use;
  };

  SteadyNs begin = 0;
  SteadyNs end = 0;
  std::vector<Share> shares;         // of each model and tenant; by model, then tenant
  int64_t running_ns = 0;            // of a step that has not ended: whose it is is not known yet
  DeviceUse overhead;                // loading, calibration, warm-up
  DeviceUse idle;                    // between steps
  std::optional<int64_t> energy_uj;  // all of it

  int64_t AttributedNs() const;
};

// Cuts one device's time, without gaps, into steps, overhead and idleness, and shares each step out
// over its sequences by what the cost model says of them, in whole nanoseconds that add up to the
// step. All models of the device report to it. Work is charged to its request when it is done,
// whatever becomes of it; idleness and overhead are charged to nobody.
//
// Energy is read about every 10 ms, no counter being finer, and shared out like the time it was
// read for: steps', overhead and idle; and over the sequences of the step at whose end it was read.
//
// Thread-safe. Every call takes a lock, for a time that grows with the sequences of a step at most.
class CostMeter final : public StepObserver {
 public:
  // The account begins now, with overhead. `energy` outlives the meter.
  CostMeter(const Prices& prices, EnergyCounter& energy, SteadyNs now);

  // A model without one is charged by sequences alone.
  void AddModel(std::string_view name, const CostModel& cost);
  // Has shares from now on, if only of nothing. They stay, so that no sum ever becomes less.
  void AddTenant(std::string_view name);

  // What is not a step is overhead, from the one call to the other.
  void BeginOverhead(SteadyNs now);
  void EndOverhead(SteadyNs now);

  // From Open to Close the use of a request is kept apart, and counts for its tenant; Close returns
  // it. Both are the business of MeteredQueue. Steps count for the device's account in any case: of
  // requests that are not open, for the tenant "default".
  void Open(RequestId request, std::string_view tenant);
  ByPhase<DeviceUse> Close(RequestId request);
  // What an open request has used so far; nothing where it is not open.
  DeviceUse UseSoFar(RequestId request);

  DeviceAccount Account(SteadyNs now);
  const Prices& prices() const { return prices_; }

  void OnStepBegin(std::string_view model, SteadyNs begin) override;
  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  enum State { kOverhead, kIdle, kStep, kNumStates };
  // Money is derived from these, once.
  struct Spent {
    int64_t device_ns = 0;
    int64_t energy_uj = 0;
  };
  struct Model {
    CostModel cost;
    std::vector<ByPhase<Spent>> spent;  // by the tenant's index; nothing beyond the end
  };
  struct Request {
    size_t tenant = 0;
    ByPhase<Spent> spent;
  };

  // Gives the time since the last cut to the present state.
  void Advance(SteadyNs now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Become(State state, SteadyNs now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Model& Find(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Its index.
  size_t FindTenant(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Shares out what was used since the last reading. Returns the part of the steps.
  int64_t ReadEnergy() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Charge(const StepStats& step, Model& model, int64_t device_ns, int64_t energy_uj)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  DeviceUse UseOf(const Spent& spent) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Prices prices_;
  const SteadyNs begin_;

  Mutex mutex_;
  EnergyCounter& energy_ ABSL_GUARDED_BY(mutex_);
  State state_ ABSL_GUARDED_BY(mutex_) = kOverhead;
  State between_steps_ ABSL_GUARDED_BY(mutex_) = kOverhead;
  SteadyNs cut_ ABSL_GUARDED_BY(mutex_);               // the account is complete until then
  int64_t running_ns_ ABSL_GUARDED_BY(mutex_) = 0;     // of the step under way
  Spent unattributed_[kStep] ABSL_GUARDED_BY(mutex_);  // overhead, idle
  std::map<std::string, Model, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t, std::less<>> tenants_ ABSL_GUARDED_BY(mutex_);  // indices
  absl::flat_hash_map<RequestId, Request> requests_ ABSL_GUARDED_BY(mutex_);

  std::optional<int64_t> first_energy_uj_ ABSL_GUARDED_BY(mutex_);  // absent: never measured
  int64_t last_energy_uj_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unread_ns_[kNumStates] ABSL_GUARDED_BY(mutex_) = {};  // since the last reading
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_COST_METER_H_
