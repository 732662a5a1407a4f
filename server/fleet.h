#ifndef DELTASERVE_SERVER_FLEET_H_
#define DELTASERVE_SERVER_FLEET_H_

#include <spdlog/logger.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/accounts.h"
#include "server/api/clock.h"
#include "server/api/observers.h"
#include "server/api/request_queue.h"
#include "server/device.h"
#include "server/engine/engine_loop.h"
#include "server/engine/least_loaded_queue.h"
#include "server/fleet_health.h"
#include "server/monitoring.h"
#include "server/options.h"
#include "server/service/model_registry.h"
#include "server/telemetry/metered_queue.h"

namespace deltaserve {

// The devices at work: an engine on each, which runs all models, with what observes its steps and
// the way into it. A request goes to the device that has the fewest.
class Fleet {
 public:
  // All outlive the fleet.
  struct Dependencies {
    const Clock& clock;
    Monitoring& monitoring;
    Accounts& accounts;
    spdlog::logger& log;
  };
  // Loads the models on all `devices`, which outlive the fleet, too. `models` have their
  // tokenizers; what the devices know of them is filled in. The status names the model.
  static absl::StatusOr<std::unique_ptr<Fleet>> Load(const Options& options,
                                                     std::deque<Device>& devices,
                                                     std::vector<ServedModel>& models,
                                                     const Dependencies& dependencies);
  ~Fleet() { Stop(); }

  // Steps begin, and with them the time that requests pay for.
  void Start();
  // Ends what is left with UNAVAILABLE, and the engines' threads.
  void Stop();

  RequestQueue& queue() { return *queue_; }
  std::vector<DeviceState> DeviceStates() const;  // any thread

 private:
  // What there is of each. The engine's thread ends before what it reports to.
  struct Unit {
    Unit(std::vector<std::unique_ptr<ModelLane>> lanes, CostMeter& meter,
         const Dependencies& dependencies, int64_t max_queued)
        : meter(meter),
          observers({&meter, &dependencies.monitoring.AddDevice(), &dependencies.accounts}),
          engine(std::move(lanes), dependencies.clock, observers, max_queued),
          queue(engine, meter) {}

    CostMeter& meter;
    StepObservers observers;  // the accounts after the meter
    EngineLoop engine;
    MeteredQueue queue;
  };

  explicit Fleet(const Clock& clock) : clock_(clock) {}

  const Clock& clock_;
  std::deque<Unit> units_;
  std::optional<LeastLoadedQueue> queue_;  // once loaded
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_FLEET_H_
