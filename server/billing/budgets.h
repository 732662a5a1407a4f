#ifndef DELTASERVE_SERVER_BILLING_BUDGETS_H_
#define DELTASERVE_SERVER_BILLING_BUDGETS_H_

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "server/api/mutex.h"
#include "server/api/tenant.h"
#include "server/api/usage_records.h"

namespace deltaserve {

// What tenants have been billed and what is reserved for their requests under way, by the day on
// which a request was opened. The two together never exceed a tenant's budget, whatever becomes of
// the requests: of what was reserved at most all is billed. Clocks may jump: a day's account is
// there when the day comes again. Thread-safe.
class Budgets {
 public:
  struct Balance {
    Picodollars billed = 0;
    Picodollars reserved = 0;
    Picodollars absorbed = 0;  // cost beyond what was reserved
  };

  // Adds what earlier processes billed. Waits for the answer.
  absl::Status Load(UsageReader& ledger);
  void AddBilled(const std::string& tenant, absl::CivilDay day, Picodollars billed,
                 Picodollars absorbed = 0);

  // Sets `amount` aside, to be billed to the day of `now`. RESOURCE_EXHAUSTED, with a retry hint:
  // it is more than is left, and how much that is. `tenant` has a budget.
  absl::Status Reserve(const Tenant& tenant, Picodollars amount, absl::Time now);

  // The end of what was `reserved` on `day`, or 0; 0 <= billed, and <= reserved where it is not 0.
  void Settle(const std::string& tenant, absl::CivilDay day, Picodollars reserved,
              Picodollars billed, Picodollars absorbed = 0);

  // Over the period of the tenant's budget that `now` is in; without a budget, over all.
  Balance BalanceOf(const Tenant& tenant, absl::Time now) const;

 private:
  using Days = std::map<absl::CivilDay, Balance>;

  Balance SumLocked(const Tenant& tenant, absl::CivilDay day) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::map<std::string, Days> tenants_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_BUDGETS_H_
