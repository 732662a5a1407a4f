#ifndef DELTASERVE_SERVER_DEVICE_H_
#define DELTASERVE_SERVER_DEVICE_H_

#include <spdlog/logger.h>

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/api/clock.h"
#include "server/engine/model_lane.h"
#include "server/model/cost_model.h"
#include "server/options.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/nvml_device.h"

namespace deltaserve {

// One device: its backend, its account, and the models that are loaded on it.
class Device {
 public:
  // The account begins now. All but the backend outlive it.
  Device(std::unique_ptr<Backend> backend, const Options& options, const Clock& clock,
         spdlog::logger& log);

  std::string_view name() const { return backend_->device(); }
  CostMeter& meter() { return meter_; }
  const NvmlDevice* nvml() const { return nvml_.get(); }  // null: it tells nothing of itself

  struct Model {
    std::unique_ptr<ModelLane> lane;
    CostModel cost;
    double load_seconds = 0;
  };
  // All models of the device, once: afterwards there is no memory for more. The device outlives
  // them. The status names the model.
  absl::StatusOr<std::vector<Model>> Load(const std::vector<LaneOptions>& models);

 private:
  // What it can do: as told, else as measured when it is first asked for.
  absl::StatusOr<DevicePeaks> PeaksIn(DType dtype);

  const Clock& clock_;
  spdlog::logger& log_;
  const DevicePeaks told_;  // 0: not
  const std::unique_ptr<Backend> backend_;
  const std::unique_ptr<NvmlDevice> nvml_;
  NoEnergyCounter no_energy_;
  CostMeter meter_;
  std::map<DType, DevicePeaks> peaks_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_DEVICE_H_
