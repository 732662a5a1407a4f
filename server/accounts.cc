#include "server/accounts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace deltaserve {

Accounts::Accounts(const Options& options, std::shared_ptr<spdlog::logger> log,
                   std::vector<CostMeter*> meters)
    : has_price_(options.nanodollars_per_device_hour.has_value()),
      on_failure_(options.ledger_failure == "continue" ? LedgerFailure::kContinue
                                                       : LedgerFailure::kRefuse),
      max_queued_(options.max_queued_requests),
      max_queued_per_tenant_(options.max_queued_requests_per_tenant),
      log_(std::move(log)),
      meters_(std::move(meters)),
      forecast_(meters_.front()->prices(), options.max_batch_tokens) {}

absl::StatusOr<std::unique_ptr<Accounts>> Accounts::Open(const Options& options,
                                                         std::shared_ptr<spdlog::logger> log,
                                                         std::vector<CostMeter*> meters) {
  // Not make_unique: the constructor is private.
  std::unique_ptr<Accounts> accounts(new Accounts(options, log, std::move(meters)));
  if (options.keys.empty()) {
    accounts->tenants_ = std::make_unique<Tenants>();
  } else {
    absl::StatusOr<std::unique_ptr<Tenants>> tenants = Tenants::Load(options.keys);
    if (!tenants.ok()) return tenants.status();
    accounts->tenants_ = *std::move(tenants);
  }
  if (!options.ledger.empty()) {
    UsageLedger::Options ledger_options;
    ledger_options.on_change = [log](const absl::Status& status) {
      if (status.ok()) {
        log->info("the ledger is written again");
      } else {
        log->error("the ledger cannot be written: {}", std::string(status.message()));
      }
    };
    absl::StatusOr<std::unique_ptr<UsageLedger>> ledger =
        UsageLedger::Open(options.ledger, std::move(ledger_options));
    if (!ledger.ok()) return ledger.status();
    accounts->ledger_ = *std::move(ledger);
    absl::Status loaded = accounts->budgets_.Load(*accounts->ledger_);
    if (!loaded.ok()) return loaded;
    log->info("ledger={} interrupted_requests={}", options.ledger,
              accounts->ledger_->num_interrupted());
  }
  if (absl::Status status = accounts->Check(accounts->tenants_->tenants()); !status.ok()) {
    return status;
  }
  accounts->OnTenants();
  return accounts;
}

absl::Status Accounts::Check(const Tenants::List& tenants) const {
  for (const auto& tenant : tenants) {
    if (!tenant->budget) continue;
    if (ledger_ == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("tenant ", tenant->name, " has a budget, which takes a --ledger"));
    }
    if (!has_price_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tenant ", tenant->name, " has a budget, which takes a price, --usd-per-device-hour"));
    }
  }
  return absl::OkStatus();
}

void Accounts::OnTenants() {
  for (const auto& tenant : tenants_->tenants()) {
    for (CostMeter* meter : meters_) meter->AddTenant(tenant->name);
  }
}

RequestQueue& Accounts::Front(RequestQueue& queue) {
  RequestQueue* front = &queue;
  if (ledger_ != nullptr) {
    billed_queue_ = std::make_unique<BilledQueue>(
        BilledQueue::Dependencies{.queue = queue,
                                  .ledger = *ledger_,
                                  .budgets = budgets_,
                                  .forecast = forecast_,
                                  .cost_so_far = [this](RequestId id) { return CostSoFar(id); },
                                  .now = absl::Now},
        on_failure_);
    front = billed_queue_.get();
  }
  // Before anything is reserved.
  if (max_queued_per_tenant_ < max_queued_) {
    fair_queue_ = std::make_unique<FairQueue>(*front, max_queued_per_tenant_);
    front = fair_queue_.get();
  }
  return *front;
}

Picodollars Accounts::CostSoFar(RequestId request) const {
  Picodollars cost = 0;
  for (CostMeter* meter : meters_) cost += meter->UseSoFar(request).cost.value_or(0);
  return cost;
}

void Accounts::OnStep(const StepStats& step) {
  if (billed_queue_ != nullptr) {
    forecast_.OnStep(step);
    billed_queue_->OnStep(step);
  }
  if (fair_queue_ != nullptr) fair_queue_->OnStep(step);
}

std::vector<TenantAccount> Accounts::TenantAccounts() const {
  const absl::Time now = absl::Now();
  std::vector<TenantAccount> accounts;
  for (const auto& tenant : tenants_->tenants()) {
    const Budgets::Balance ever = budgets_.BalanceOf({.name = tenant->name}, now);
    TenantAccount& account = accounts.emplace_back();
    account.name = tenant->name;
    account.billed = ever.billed;
    account.absorbed = ever.absorbed;
    if (!tenant->budget) continue;
    const Budgets::Balance present = budgets_.BalanceOf(*tenant, now);
    const Picodollars limit = tenant->budget->limit;
    account.budget = {.limit = limit,
                      .left = std::max<Picodollars>(0, limit - present.billed - present.reserved)};
  }
  return accounts;
}

void Accounts::Reload() {
  const absl::Status status =
      tenants_->Reload([this](const Tenants::List& tenants) { return Check(tenants); });
  if (status.ok()) {
    OnTenants();
    log_->info("the keys are read anew: {} tenants", tenants_->tenants().size());
  } else {
    log_->error("the keys stay as they were: {}", std::string(status.message()));
  }
}

}  // namespace deltaserve
