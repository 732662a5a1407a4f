#ifndef DELTASERVE_SERVER_TELEMETRY_SERVER_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_SERVER_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace deltaserve {

// How the server is, apart from its requests.
struct ServerState {
  bool engine_healthy = true;  // steps go on, and the device is there
  int64_t max_waiting = 0;     // requests that may wait, per model
  struct Ledger {
    bool healthy = true;       // its last commit succeeded
    int64_t lost_records = 0;  // given up unwritten
  };
  std::optional<Ledger> ledger = {};  // absent: none
};

// The server's state as Prometheus sees it, taken anew at each scrape.
class ServerMetrics final : public prometheus::Collectable {
 public:
  using State = std::function<ServerState()>;

  // `state` is called on any thread.
  explicit ServerMetrics(State state) : state_(std::move(state)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const State state_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_SERVER_METRICS_H_
