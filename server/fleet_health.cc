#include "server/fleet_health.h"

#include <algorithm>
#include <string>
#include <utility>

namespace deltaserve {
namespace {

bool Works(const DeviceState& state) { return state.status.ok(); }

}  // namespace

FleetHealth::FleetHealth(std::function<std::vector<DeviceState>()> states,
                         absl::Duration stall_limit, spdlog::logger& log)
    : states_(std::move(states)),
      stall_limit_(absl::ToInt64Nanoseconds(stall_limit)),
      log_(log),
      told_(states_().size()) {}

bool FleetHealth::IsWell() const {
  const std::vector<DeviceState> states = states_();
  return std::any_of(states.begin(), states.end(), Works) &&
         std::none_of(states.begin(), states.end(), [this](const DeviceState& state) {
           return Works(state) && state.stalled_for >= stall_limit_;
         });
}

bool FleetHealth::Watch() {
  const std::vector<DeviceState> states = states_();
  for (size_t i = 0; i < states.size(); ++i) {
    if (Works(states[i]) || told_[i]) continue;
    told_[i] = true;
    log_.error("device {} of {}: {}", i + 1, states.size(),
               std::string(states[i].status.message()));
  }
  return IsWell();
}

void FleetHealth::LogChange(bool well) const {
  if (well) {
    log_.info("steps go on: SERVING");
    return;
  }
  const std::vector<DeviceState> states = states_();
  const bool works = std::any_of(states.begin(), states.end(), Works);
  log_.error("NOT_SERVING: {}", works ? "steps have stalled" : "no device is left");
}

}  // namespace deltaserve
