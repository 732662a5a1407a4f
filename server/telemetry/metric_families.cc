#include "server/telemetry/metric_families.h"

#include <utility>

namespace deltaserve {
namespace {

prometheus::MetricFamily Scraped(const char* name, const char* help, prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

}  // namespace

prometheus::Family<prometheus::Counter>& AddCounter(prometheus::Registry& registry,
                                                    const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Gauge>& AddGauge(prometheus::Registry& registry, const char* name,
                                                const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Histogram>& AddHistogram(prometheus::Registry& registry,
                                                        const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

prometheus::MetricFamily ScrapedCounter(const char* name, const char* help) {
  return Scraped(name, help, prometheus::MetricType::Counter);
}

prometheus::MetricFamily ScrapedGauge(const char* name, const char* help) {
  return Scraped(name, help, prometheus::MetricType::Gauge);
}

void AddSample(prometheus::MetricFamily& family, ScrapedLabels labels, double value) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  (family.type == prometheus::MetricType::Gauge ? metric.gauge.value : metric.counter.value) =
      value;
}

}  // namespace deltaserve
