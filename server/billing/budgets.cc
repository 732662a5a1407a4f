#include "server/billing/budgets.h"

#include <future>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/api/retry_hint.h"

namespace deltaserve {
namespace {

// Requests under way end and give back what they do not use.
constexpr absl::Duration kWhileOthersRun = absl::Seconds(1);

// A whole number of nanodollars is precise enough to be read.
std::string Dollars(Picodollars amount) {
  std::string text =
      absl::StrFormat("%d.%09d", amount / 1'000'000'000'000, amount % 1'000'000'000'000 / 1000);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return absl::StrCat(text, " USD");
}

const char* PeriodName(Budget::Period period) {
  switch (period) {
    case Budget::Period::kDay:
      return " a day";
    case Budget::Period::kMonth:
      return " a month";
    case Budget::Period::kTotal:
      return " in total";
  }
  return "";
}

absl::CivilDay FirstDay(Budget::Period period, absl::CivilDay day) {
  switch (period) {
    case Budget::Period::kDay:
      return day;
    case Budget::Period::kMonth:
      return absl::CivilDay(absl::CivilMonth(day));
    case Budget::Period::kTotal:
      return absl::CivilDay::min();
  }
  return day;
}

absl::CivilDay LastDay(Budget::Period period, absl::CivilDay day) {
  switch (period) {
    case Budget::Period::kDay:
      return day;
    case Budget::Period::kMonth:
      return absl::CivilDay(absl::CivilMonth(day) + 1) - 1;
    case Budget::Period::kTotal:
      return absl::CivilDay::max();
  }
  return day;
}

absl::Duration UntilNextPeriod(Budget::Period period, absl::Time now) {
  if (period == Budget::Period::kTotal) return absl::InfiniteDuration();
  return absl::FromCivil(LastDay(period, DayOf(now)) + 1, absl::UTCTimeZone()) - now;
}

}  // namespace

absl::Status Budgets::Load(UsageReader& ledger) {
  std::promise<absl::StatusOr<std::vector<UsageTotal>>> answer;
  ledger.FindTotals({.by_tenant = true, .by_day = true},
                    [&answer](absl::StatusOr<std::vector<UsageTotal>> totals) {
                      answer.set_value(std::move(totals));
                    });
  const absl::StatusOr<std::vector<UsageTotal>> totals = answer.get_future().get();
  if (!totals.ok()) return totals.status();
  for (const UsageTotal& total : *totals) {
    AddBilled(*total.tenant, *total.day, total.billed, total.absorbed);
  }
  return absl::OkStatus();
}

void Budgets::AddBilled(const std::string& tenant, absl::CivilDay day, Picodollars billed,
                        Picodollars absorbed) {
  Settle(tenant, day, /*reserved=*/0, billed, absorbed);
}

Budgets::Balance Budgets::SumLocked(const Tenant& tenant, absl::CivilDay day) const {
  Balance sum;
  const auto days = tenants_.find(tenant.name);
  if (days == tenants_.end()) return sum;
  const Budget::Period period = tenant.budget ? tenant.budget->period : Budget::Period::kTotal;
  const auto end = days->second.upper_bound(LastDay(period, day));
  for (auto it = days->second.lower_bound(FirstDay(period, day)); it != end; ++it) {
    sum.billed += it->second.billed;
    sum.reserved += it->second.reserved;
    sum.absorbed += it->second.absorbed;
  }
  return sum;
}

absl::Status Budgets::Reserve(const Tenant& tenant, Picodollars amount, absl::Time now) {
  const Budget& budget = *tenant.budget;
  MutexLock lock(&mutex_);
  const Balance balance = SumLocked(tenant, DayOf(now));
  // What is left may be below nothing where the budget was made smaller.
  const Picodollars unbilled = std::max<Picodollars>(0, budget.limit - balance.billed);
  const Picodollars left = std::max<Picodollars>(0, unbilled - balance.reserved);
  if (amount <= left) {
    tenants_[tenant.name][DayOf(now)].reserved += amount;
    return absl::OkStatus();
  }
  std::string message =
      absl::StrCat("budget: of ", Dollars(budget.limit), PeriodName(budget.period), ", ",
                   Dollars(left), " are left; the request may cost up to ", Dollars(amount));
  if (balance.reserved > 0) {
    absl::StrAppend(&message, "; ", Dollars(balance.reserved),
                    " are reserved for requests under way");
  }
  absl::Duration delay = absl::InfiniteDuration();
  if (amount <= unbilled) {
    delay = kWhileOthersRun;
  } else if (amount <= budget.limit) {
    delay = UntilNextPeriod(budget.period, now);
  }
  return WithRetryHint(absl::ResourceExhaustedError(message), delay);
}

void Budgets::Settle(const std::string& tenant, absl::CivilDay day, Picodollars reserved,
                     Picodollars billed, Picodollars absorbed) {
  MutexLock lock(&mutex_);
  Balance& balance = tenants_[tenant][day];
  balance.reserved -= reserved;
  balance.billed += billed;
  balance.absorbed += absorbed;
}

Budgets::Balance Budgets::BalanceOf(const Tenant& tenant, absl::Time now) const {
  MutexLock lock(&mutex_);
  return SumLocked(tenant, DayOf(now));
}

}  // namespace deltaserve
