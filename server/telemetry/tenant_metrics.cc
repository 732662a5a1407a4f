#include "server/telemetry/tenant_metrics.h"

namespace deltaserve {
namespace {

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

prometheus::ClientMetric& Add(prometheus::MetricFamily& family, const std::string& tenant) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = {{"tenant", tenant}};
  return metric;
}

}  // namespace

std::vector<prometheus::MetricFamily> TenantMetrics::Collect() const {
  prometheus::MetricFamily billed =
      Family("deltaserve_billed_usd_total", "What tenants are billed, of what the ledger has",
             prometheus::MetricType::Counter);
  prometheus::MetricFamily absorbed =
      Family("deltaserve_cost_absorbed_usd_total", "Cost beyond reservations, billed to nobody",
             prometheus::MetricType::Counter);
  prometheus::MetricFamily left =
      Family("deltaserve_budget_remaining_usd", "What is left of budgets, in their present period",
             prometheus::MetricType::Gauge);
  for (const TenantAccount& account : accounts_()) {
    Add(billed, account.name).counter.value = Usd(account.billed);
    Add(absorbed, account.name).counter.value = Usd(account.absorbed);
    if (account.budget_left) Add(left, account.name).gauge.value = Usd(*account.budget_left);
  }
  std::vector<prometheus::MetricFamily> families = {std::move(billed), std::move(absorbed)};
  if (!left.metric.empty()) families.push_back(std::move(left));
  return families;
}

}  // namespace deltaserve
