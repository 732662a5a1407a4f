#include "server/telemetry/metrics_server.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace deltaserve {

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    Sources sources) {
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/2);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", error.what()));
  }
  for (const auto& source : sources) exposer->RegisterCollectable(source);
  const std::vector<int> ports = exposer->GetListeningPorts();
  if (ports.empty()) return absl::UnavailableError(absl::StrCat("cannot serve on ", address));
  const std::string host = address.substr(0, address.rfind(':'));
  // Not make_unique: the constructor is private.
  return std::unique_ptr<MetricsServer>(new MetricsServer(absl::StrCat(host, ":", ports.front()),
                                                          std::move(exposer), std::move(sources)));
}

MetricsServer::MetricsServer(std::string address, std::unique_ptr<prometheus::Exposer> exposer,
                             Sources sources)
    : address_(std::move(address)), sources_(std::move(sources)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() = default;

}  // namespace deltaserve
