#ifndef DELTASERVE_SERVER_TELEMETRY_METRICS_SERVER_H_
#define DELTASERVE_SERVER_TELEMETRY_METRICS_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prometheus {
class Collectable;
class Exposer;
}  // namespace prometheus

namespace deltaserve {

// Serves metrics over HTTP, in Prometheus's text format, at /metrics.
class MetricsServer {
 public:
  using Sources = std::vector<std::shared_ptr<prometheus::Collectable>>;

  // `address` is host:port, where port 0 means any free one. UNAVAILABLE when it cannot be listened
  // on. The server keeps the `sources`, no two of which have a family in common.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                              Sources sources);
  ~MetricsServer();

  // host:port, with the real port.
  const std::string& address() const { return address_; }

 private:
  MetricsServer(std::string address, std::unique_ptr<prometheus::Exposer> exposer, Sources sources);

  const std::string address_;
  const Sources sources_;  // the exposer's own hold is weak
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_METRICS_SERVER_H_
