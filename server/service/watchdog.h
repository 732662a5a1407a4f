#ifndef DELTASERVE_SERVER_SERVICE_WATCHDOG_H_
#define DELTASERVE_SERVER_SERVICE_WATCHDOG_H_

#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/service/health.h"

namespace deltaserve {

// Keeps health true to the engine: a thread that asks, every `period`, whether it is well.
class Watchdog {
 public:
  // `is_well` is called on the watchdog's thread; `on_change`, too, whenever its answer differs
  // from the one before (well, at first). `health` outlives the watchdog.
  Watchdog(Health* health, absl::Duration period, std::function<bool()> is_well,
           std::function<void(bool)> on_change);
  ~Watchdog();

 private:
  void Run(absl::Duration period);

  Health* const health_;
  const std::function<bool()> is_well_;
  const std::function<void(bool)> on_change_;
  absl::Notification stop_;
  std::thread thread_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_WATCHDOG_H_
