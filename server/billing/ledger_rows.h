#ifndef DELTASERVE_SERVER_BILLING_LEDGER_ROWS_H_
#define DELTASERVE_SERVER_BILLING_LEDGER_ROWS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "server/api/usage_records.h"
#include "server/billing/sqlite.h"

namespace deltaserve {

// The columns that hold what a request took, in requests and, summed up, in totals: integers, null
// where it is not known. Tokens, then nanoseconds (ns), microjoules (uj) and picodollars (pusd).
inline constexpr const char* kAmountColumns[] = {
    "prompt_tokens",     "cached_prompt_tokens",
    "completion_tokens", "scored_tokens",
    "queue_ns",          "first_token_ns",
    "total_ns",  //
    "prefill_ns",        "prefill_uj",
    "prefill_pusd",  //
    "decode_ns",         "decode_uj",
    "decode_pusd",  //
    "score_ns",          "score_uj",
    "score_pusd",  //
    "billed_pusd",       "absorbed_pusd",
};

struct Amounts {
  Usage usage;
  Picodollars billed = 0;
  Picodollars absorbed = 0;
};

// In the order of the columns. Returns, from `column` on, what is in the row.
void Bind(const Amounts& amounts, Statement& statement);
Amounts ReadAmounts(const Statement& row, int column);

// Days since 1970-01-01, and nanoseconds since its beginning, UTC.
int64_t DayNumber(absl::CivilDay day);
absl::CivilDay DayOfNumber(int64_t number);
int64_t UnixNs(absl::Time time);
absl::Time TimeOfUnixNs(int64_t ns);

UsageRecord::State StateOfName(const std::string& name);

// What makes the tables, and the statement that writes a request, whose parameters are bound by
// BindRequest. Totals follow by triggers.
std::string TablesSql();
std::string WriteRequestSql();
void BindRequest(const UsageRecord& record, Statement& statement);
// The columns that ReadRequest reads.
std::string RequestColumns();
UsageRecord ReadRequest(const Statement& row);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_LEDGER_ROWS_H_
