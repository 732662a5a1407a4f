// Records for tests of the ledger.
#ifndef DELTASERVE_TESTS_BILLING_RECORDS_H_
#define DELTASERVE_TESTS_BILLING_RECORDS_H_

#include <string>
#include <utility>

#include "server/api/usage_records.h"

namespace deltaserve {

inline constexpr absl::CivilDay kDay(2026, 11, 23);

inline absl::Time NoonOf(absl::CivilDay day) {
  return absl::FromCivil(day, absl::UTCTimeZone()) + absl::Hours(12);
}

// Of a tenant with a budget.
inline UsageRecord OpenRecord(std::string id, Picodollars reserved, std::string tenant = "acme",
                              std::string model = "demo", absl::CivilDay day = kDay) {
  UsageRecord record;
  record.request_id = std::move(id);
  record.tenant = std::move(tenant);
  record.model = std::move(model);
  record.opened = NoonOf(day);
  record.reserved = reserved;
  return record;
}

// Every amount differs from the others.
inline UsageRecord Closed(UsageRecord record, Picodollars billed) {
  record.state = UsageRecord::State::kClosed;
  record.closed = record.opened + absl::Milliseconds(250);
  record.billed = billed;
  record.absorbed = 5;
  Usage& usage = record.usage;
  usage.prompt_tokens = 11;
  usage.cached_prompt_tokens = 2;
  usage.completion_tokens = 31;
  usage.scored_tokens = 4;
  usage.queue_ns = 1001;
  usage.time_to_first_token_ns = 1002;
  usage.total_ns = 1003;
  usage.device[Phase::kPrefill] = {.device_ns = 100, .energy_uj = 7, .cost = billed};
  usage.device[Phase::kDecode] = {.device_ns = 200, .energy_uj = {}, .cost = 5};
  usage.device[Phase::kScore] = {.device_ns = 300, .energy_uj = {}, .cost = {}};
  return record;
}

inline UsageRecord ClosedRecord(std::string id, Picodollars billed, std::string tenant = "acme",
                                std::string model = "demo", absl::CivilDay day = kDay) {
  UsageRecord record = OpenRecord(std::move(id), 0, std::move(tenant), std::move(model), day);
  record.reserved.reset();
  return Closed(std::move(record), billed);
}

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_BILLING_RECORDS_H_
