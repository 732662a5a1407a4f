#ifndef DELTASERVE_SERVER_TELEMETRY_TENANT_METRICS_H_
#define DELTASERVE_SERVER_TELEMETRY_TENANT_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/api/result.h"

namespace deltaserve {

// What a tenant has been billed so far, by earlier processes, too.
struct TenantAccount {
  std::string name;
  Picodollars billed = 0;
  Picodollars absorbed = 0;  // cost beyond what was reserved
  // Of the present period; absent: no budget.
  struct Budget {
    Picodollars limit = 0;
    Picodollars left = 0;
  };
  std::optional<Budget> budget = {};
};

// The tenants' accounts as Prometheus sees them, taken anew at each scrape.
class TenantMetrics final : public prometheus::Collectable {
 public:
  using Accounts = std::function<std::vector<TenantAccount>()>;

  // `accounts` is called on any thread.
  explicit TenantMetrics(Accounts accounts) : accounts_(std::move(accounts)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Accounts accounts_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_TENANT_METRICS_H_
