#include "server/telemetry/tenant_metrics.h"

#include <gtest/gtest.h>

#include <map>

namespace deltaserve {
namespace {

TEST(TenantMetricsTest, EachTenantsAccount) {
  const TenantMetrics metrics([] {
    return std::vector<TenantAccount>{
        {.name = "acme",
         .billed = 2'500'000'000'000,
         .absorbed = 250'000'000'000,
         .budget = {{.limit = 3'000'000'000'000, .left = 500'000'000'000}}},
        {.name = "free", .billed = 1, .budget = {}}};
  });
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      ASSERT_EQ(metric.label.size(), 1);
      EXPECT_EQ(metric.label[0].name, "tenant");
      values[family.name + " " + metric.label[0].value] =
          family.type == prometheus::MetricType::Gauge ? metric.gauge.value : metric.counter.value;
    }
  }
  const std::map<std::string, double> expected = {
      {"deltaserve_billed_usd_total acme", 2.5},
      {"deltaserve_billed_usd_total free", 1e-12},
      {"deltaserve_cost_absorbed_usd_total acme", 0.25},
      {"deltaserve_cost_absorbed_usd_total free", 0},
      {"deltaserve_budget_usd acme", 3},
      {"deltaserve_budget_remaining_usd acme", 0.5},
  };
  EXPECT_EQ(values, expected);
}

TEST(TenantMetricsTest, WithoutBudgetsThereIsNoFamilyOfThem) {
  const TenantMetrics metrics([] { return std::vector<TenantAccount>{{.name = "a"}}; });
  EXPECT_EQ(metrics.Collect().size(), 2);
}

}  // namespace
}  // namespace deltaserve
