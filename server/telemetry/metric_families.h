// The families of metrics: those that are kept and those that are made anew for each scrape.
#ifndef DELTASERVE_SERVER_TELEMETRY_METRIC_FAMILIES_H_
#define DELTASERVE_SERVER_TELEMETRY_METRIC_FAMILIES_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <vector>

#include "server/api/request.h"

namespace deltaserve {

// Prometheus counts in seconds.
inline double Seconds(SteadyNs ns) { return static_cast<double>(ns) * 1e-9; }

// Kept by the registry.
prometheus::Family<prometheus::Counter>& AddCounter(prometheus::Registry& registry,
                                                    const char* name, const char* help);
prometheus::Family<prometheus::Gauge>& AddGauge(prometheus::Registry& registry, const char* name,
                                                const char* help);
prometheus::Family<prometheus::Histogram>& AddHistogram(prometheus::Registry& registry,
                                                        const char* name, const char* help);

// Of one scrape: a family of counters or gauges without samples, and one more sample of it.
prometheus::MetricFamily ScrapedCounter(const char* name, const char* help);
prometheus::MetricFamily ScrapedGauge(const char* name, const char* help);
using ScrapedLabels = std::vector<prometheus::ClientMetric::Label>;
void AddSample(prometheus::MetricFamily& family, ScrapedLabels labels, double value);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_METRIC_FAMILIES_H_
