#include "server/telemetry/server_metrics.h"

#include "server/telemetry/metric_families.h"

namespace deltaserve {
namespace {

prometheus::MetricFamily With(prometheus::MetricFamily family, double value) {
  AddSample(family, {}, value);
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> ServerMetrics::Collect() const {
  const ServerState state = state_();
  std::vector<prometheus::MetricFamily> families = {
      With(ScrapedGauge("deltaserve_engine_healthy",
                        "1 while steps go on and the device is there, else 0"),
           state.engine_healthy ? 1 : 0),
      With(ScrapedGauge("deltaserve_requests_waiting_limit",
                        "Requests that may wait, of each model"),
           static_cast<double>(state.max_waiting)),
  };
  if (state.ledger) {
    families.push_back(
        With(ScrapedGauge("deltaserve_ledger_healthy", "1 while the ledger can be written, else 0"),
             state.ledger->healthy ? 1 : 0));
    families.push_back(With(ScrapedCounter("deltaserve_ledger_lost_records_total",
                                           "Records of usage that were given up unwritten"),
                            static_cast<double>(state.ledger->lost_records)));
  }
  return families;
}

}  // namespace deltaserve
