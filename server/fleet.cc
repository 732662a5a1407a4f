#include "server/fleet.h"

#include <string>
#include <utility>

#include "server/served_models.h"

namespace deltaserve {
namespace {

// `served`: the model as the devices before this one serve it.
void AddDevice(const ModelInfo& info, ModelInfo& served) {
  const std::string others = served.device.empty() ? "" : served.device + ",";
  served = info;
  served.device = others + info.device;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Fleet>> Fleet::Load(const Options& options,
                                                   std::deque<Device>& devices,
                                                   std::vector<ServedModel>& models,
                                                   const Dependencies& dependencies) {
  const std::vector<LaneOptions> lane_options = LaneOptionsFor(options, models);
  std::unique_ptr<Fleet> fleet(new Fleet(dependencies.clock));  // the constructor is private
  std::vector<LeastLoadedQueue::Device> ways;
  for (Device& device : devices) {
    absl::StatusOr<std::vector<Device::Model>> loaded = device.Load(lane_options);
    if (!loaded.ok()) return loaded.status();
    std::vector<std::unique_ptr<ModelLane>> lanes;
    for (size_t i = 0; i < loaded->size(); ++i) {
      Device::Model& model = (*loaded)[i];
      const ModelInfo& info = model.lane->info();
      dependencies.log.info(
          "model={} residual={} d_v={} parameters={} device={} dtype={} weight_bytes={} "
          "cache_bytes={} cache_tokens={} context={} tokenizer={} load_seconds={:.3f}",
          info.name, info.residual, info.value_channels, info.num_parameters, info.device,
          info.dtype, info.weight_bytes, model.lane->cache_bytes(), model.lane->cache_tokens(),
          info.context_length, models[i].tokenizer != nullptr, model.load_seconds);
      dependencies.monitoring.SetModel(info, model.load_seconds);
      dependencies.accounts.AddModel(info.name, model.cost);
      AddDevice(info, models[i].info);
      lanes.push_back(std::move(model.lane));
    }
    Unit& unit = fleet->units_.emplace_back(std::move(lanes), device.meter(), dependencies,
                                            options.max_queued_requests);
    ways.push_back({&unit.queue, &unit.engine});
  }
  fleet->queue_.emplace(std::move(ways));
  return fleet;
}

void Fleet::Start() {
  for (Unit& unit : units_) unit.meter.EndOverhead(clock_.Now());
  for (Unit& unit : units_) unit.engine.Start();
}

void Fleet::Stop() {
  for (Unit& unit : units_) unit.engine.Stop();
}

std::vector<DeviceState> Fleet::DeviceStates() const {
  std::vector<DeviceState> states;
  for (const Unit& unit : units_) {
    states.push_back({.status = unit.engine.status(), .stalled_for = unit.engine.StalledFor()});
  }
  return states;
}

}  // namespace deltaserve
