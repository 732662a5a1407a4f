#include "server/service/watchdog.h"

#include <utility>

namespace deltaserve {

Watchdog::Watchdog(Health* health, absl::Duration period, std::function<bool()> is_well,
                   std::function<void(bool)> on_change)
    : health_(health),
      is_well_(std::move(is_well)),
      on_change_(std::move(on_change)),
      thread_([this, period] { Run(period); }) {}

Watchdog::~Watchdog() {
  stop_.Notify();
  thread_.join();
}

void Watchdog::Run(absl::Duration period) {
  bool well = true;
  while (!stop_.WaitForNotificationWithTimeout(period)) {
    if (is_well_() == well) continue;
    well = !well;
    health_->SetServing(well);
    on_change_(well);
  }
}

}  // namespace deltaserve
