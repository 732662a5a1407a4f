#include "server/telemetry/tenant_metrics.h"

#include "server/telemetry/metric_families.h"

namespace deltaserve {

std::vector<prometheus::MetricFamily> TenantMetrics::Collect() const {
  prometheus::MetricFamily billed = ScrapedCounter(
      "deltaserve_billed_usd_total", "What tenants are billed, of what the ledger has");
  prometheus::MetricFamily absorbed = ScrapedCounter("deltaserve_cost_absorbed_usd_total",
                                                     "Cost beyond reservations, billed to nobody");
  prometheus::MetricFamily limit =
      ScrapedGauge("deltaserve_budget_usd", "Budgets, of their present period");
  prometheus::MetricFamily left = ScrapedGauge("deltaserve_budget_remaining_usd",
                                               "What is left of budgets, in their present period");
  for (const TenantAccount& account : accounts_()) {
    const ScrapedLabels tenant = {{"tenant", account.name}};
    AddSample(billed, tenant, Usd(account.billed));
    AddSample(absorbed, tenant, Usd(account.absorbed));
    if (!account.budget) continue;
    AddSample(limit, tenant, Usd(account.budget->limit));
    AddSample(left, tenant, Usd(account.budget->left));
  }
  std::vector<prometheus::MetricFamily> families = {std::move(billed), std::move(absorbed)};
  if (!left.metric.empty()) {
    families.push_back(std::move(limit));
    families.push_back(std::move(left));
  }
  return families;
}

}  // namespace deltaserve
