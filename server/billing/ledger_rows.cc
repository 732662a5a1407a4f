#include "server/billing/ledger_rows.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/substitute.h"

namespace deltaserve {
namespace {

constexpr absl::CivilDay kFirstDay(1970, 1, 1);

constexpr char kRequestColumns[] =
    "request_id, tenant, model, opened_at, closed_at, state, code, reserved_pusd";
constexpr int kNumRequestColumns = 8;

// `$0` stands for the name of an amount.
std::string ForEachAmount(const char* separator, const char* format) {
  return absl::StrJoin(kAmountColumns, separator, [format](std::string* out, const char* column) {
    absl::SubstituteAndAppend(out, format, column);
  });
}

// Adds NEW to its total. What is known of one of two is known of both.
std::string AddToTotals() {
  return absl::Substitute(
      R"(INSERT INTO totals (day, tenant, model, requests, interrupted, $0)
         VALUES (NEW.day, NEW.tenant, NEW.model, 1, NEW.state = 'interrupted', $1)
         ON CONFLICT (day, tenant, model) DO UPDATE SET
           requests = requests + 1, interrupted = interrupted + excluded.interrupted, $2;)",
      ForEachAmount(", ", "$0"), ForEachAmount(", ", "NEW.$0"),
      ForEachAmount(", ", "$0 = coalesce($0 + excluded.$0, $0, excluded.$0)"));
}

}  // namespace

void Bind(const Amounts& amounts, Statement& statement) {
  const Usage& usage = amounts.usage;
  for (const int64_t value :
       {usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens,
        usage.scored_tokens, usage.queue_ns, usage.time_to_first_token_ns, usage.total_ns}) {
    statement.Bind(value);
  }
  for (const DeviceUse& use : usage.device.values) {
    statement.Bind(use.device_ns);
    statement.Bind(use.energy_uj);
    statement.Bind(use.cost);
  }
  statement.Bind(amounts.billed);
  statement.Bind(amounts.absorbed);
}

Amounts ReadAmounts(const Statement& row, int column) {
  Amounts amounts;
  Usage& usage = amounts.usage;
  const auto next = [&] { return row.Integer(column++).value_or(0); };
  for (int64_t* value :
       {&usage.prompt_tokens, &usage.cached_prompt_tokens, &usage.completion_tokens,
        &usage.scored_tokens, &usage.queue_ns, &usage.time_to_first_token_ns, &usage.total_ns}) {
    *value = next();
  }
  for (DeviceUse& use : usage.device.values) {
    use.device_ns = next();
    use.energy_uj = row.Integer(column++);
    use.cost = row.Integer(column++);
  }
  amounts.billed = next();
  amounts.absorbed = next();
  return amounts;
}

int64_t DayNumber(absl::CivilDay day) { return day - kFirstDay; }
absl::CivilDay DayOfNumber(int64_t number) { return kFirstDay + number; }
int64_t UnixNs(absl::Time time) { return absl::ToUnixNanos(time); }
absl::Time TimeOfUnixNs(int64_t ns) { return absl::FromUnixNanos(ns); }

UsageRecord::State StateOfName(const std::string& name) {
  if (name == Name(UsageRecord::State::kOpen)) return UsageRecord::State::kOpen;
  if (name == Name(UsageRecord::State::kClosed)) return UsageRecord::State::kClosed;
  return UsageRecord::State::kInterrupted;
}

std::string TablesSql() {
  return absl::Substitute(
      R"(
      CREATE TABLE requests (
        request_id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        model TEXT NOT NULL,
        day INTEGER NOT NULL,        -- of its opening, since 1970-01-01, UTC
        opened_at INTEGER NOT NULL,  -- ns since then
        closed_at INTEGER,
        state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'interrupted')),
        code INTEGER NOT NULL,       -- google.rpc.Code
        reserved_pusd INTEGER,
        $0
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX open_requests ON requests (state) WHERE state = 'open';
      CREATE TABLE totals (
        day INTEGER NOT NULL,
        tenant TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        interrupted INTEGER NOT NULL,
        $0,
        PRIMARY KEY (day, tenant, model)
      ) STRICT, WITHOUT ROWID;
      CREATE TRIGGER request_came_closed AFTER INSERT ON requests
      WHEN NEW.state <> 'open' BEGIN $1 END;
      CREATE TRIGGER request_closed AFTER UPDATE OF state ON requests
      WHEN OLD.state = 'open' AND NEW.state <> 'open' BEGIN $1 END;)",
      ForEachAmount(", ", "$0 INTEGER"), AddToTotals());
}

std::string WriteRequestSql() {
  std::string parameters = "?";
  for (size_t i = 1; i < kNumRequestColumns + 1 + std::size(kAmountColumns); ++i) {
    absl::StrAppend(&parameters, ", ?");
  }
  return absl::Substitute(
      R"(INSERT INTO requests ($0, day, $1) VALUES ($2)
         ON CONFLICT (request_id) DO UPDATE SET
           closed_at = excluded.closed_at, state = excluded.state, code = excluded.code, $3
         WHERE state = 'open')",
      kRequestColumns, ForEachAmount(", ", "$0"), parameters,
      ForEachAmount(", ", "$0 = excluded.$0"));
}

void BindRequest(const UsageRecord& record, Statement& statement) {
  statement.Bind(record.request_id);
  statement.Bind(record.tenant);
  statement.Bind(record.model);
  statement.Bind(UnixNs(record.opened));
  statement.Bind(record.closed ? std::optional(UnixNs(*record.closed)) : std::nullopt);
  statement.Bind(Name(record.state));
  statement.Bind(static_cast<int64_t>(record.code));
  statement.Bind(record.reserved);
  statement.Bind(DayNumber(DayOf(record.opened)));
  Bind({record.usage, record.billed, record.absorbed}, statement);
}

std::string RequestColumns() {
  return absl::StrCat(kRequestColumns, ", ", ForEachAmount(", ", "$0"));
}

UsageRecord ReadRequest(const Statement& row) {
  UsageRecord record;
  record.request_id = row.Text(0);
  record.tenant = row.Text(1);
  record.model = row.Text(2);
  record.opened = TimeOfUnixNs(row.Integer(3).value_or(0));
  if (const auto closed = row.Integer(4)) record.closed = TimeOfUnixNs(*closed);
  record.state = StateOfName(row.Text(5));
  record.code = static_cast<absl::StatusCode>(row.Integer(6).value_or(0));
  record.reserved = row.Integer(7);
  Amounts amounts = ReadAmounts(row, kNumRequestColumns);
  record.usage = amounts.usage;
  record.billed = amounts.billed;
  record.absorbed = amounts.absorbed;
  return record;
}

}  // namespace deltaserve
