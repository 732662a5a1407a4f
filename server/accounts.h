#ifndef DELTASERVE_SERVER_ACCOUNTS_H_
#define DELTASERVE_SERVER_ACCOUNTS_H_

#include <spdlog/logger.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/billing/billed_queue.h"
#include "server/billing/budgets.h"
#include "server/billing/cost_forecast.h"
#include "server/billing/usage_ledger.h"
#include "server/options.h"
#include "server/service/fair_queue.h"
#include "server/service/tenants.h"
#include "server/telemetry/cost_meter.h"
#include "server/telemetry/tenant_metrics.h"

namespace deltaserve {

// Who may call and who pays: what of the composition hangs on --keys and --ledger. It hears of
// steps after the meter.
class Accounts final : public StepObserver {
 public:
  // Opens the keys file and the ledger, as far as `options` has them. INVALID_ARGUMENT: a tenant
  // has a budget, but there is no ledger or no price. `meters`, of one device each, outlive this.
  static absl::StatusOr<std::unique_ptr<Accounts>> Open(const Options& options,
                                                        std::shared_ptr<spdlog::logger> log,
                                                        std::vector<CostMeter*> meters);

  const Tenants& tenants() const { return *tenants_; }
  UsageLedger* ledger() { return ledger_.get(); }  // null: none

  // For forecasts; before Front.
  void AddModel(std::string_view name, const CostModel& cost) { forecast_.AddModel(name, cost); }
  // What service/ submits to: `queue` itself where nobody's share of it is less than all, and there
  // is no ledger. Before the first step. `queue` lives as long as there are requests.
  RequestQueue& Front(RequestQueue& queue);

  // Of the tenants that the keys name, or the default one. Any thread.
  std::vector<TenantAccount> TenantAccounts() const;

  // Reads the keys anew; says in the log how that went.
  void Reload();

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  Accounts(const Options& options, std::shared_ptr<spdlog::logger> log,
           std::vector<CostMeter*> meters);
  absl::Status Check(const Tenants::List& tenants) const;
  // There are tenants, perhaps new ones.
  void OnTenants();
  // On whichever device it runs.
  Picodollars CostSoFar(RequestId request) const;

  const bool has_price_;
  const LedgerFailure on_failure_;
  const int64_t max_queued_;
  const int64_t max_queued_per_tenant_;
  const std::shared_ptr<spdlog::logger> log_;
  const std::vector<CostMeter*> meters_;
  CostForecast forecast_;
  Budgets budgets_;
  std::unique_ptr<Tenants> tenants_;
  std::unique_ptr<UsageLedger> ledger_;
  std::unique_ptr<BilledQueue> billed_queue_;
  std::unique_ptr<FairQueue> fair_queue_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ACCOUNTS_H_
