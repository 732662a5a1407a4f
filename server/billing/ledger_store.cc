#include "server/billing/ledger_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/billing/ledger_rows.h"

namespace deltaserve {
namespace {

constexpr int64_t kApplicationId = 0x44656c74;  // "Delt"
constexpr int64_t kVersion = 1;

}  // namespace

absl::StatusOr<LedgerStore> LedgerStore::Open(const std::string& path) {
  absl::StatusOr<Database> database = Database::Open(path);
  if (!database.ok()) {
    return absl::Status(database.status().code(),
                        absl::StrCat("ledger ", path, ": ", database.status().message()));
  }
  LedgerStore store(path, *std::move(database));
  if (absl::Status status = store.Prepare(); !status.ok()) return store.Annotate(status);
  return store;
}

absl::Status LedgerStore::Annotate(const absl::Status& status) const {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("ledger ", path_, ": ", status.message()));
}

absl::Status LedgerStore::Prepare() {
  // The lock is taken with the first transaction and kept, so that no other server can take this
  // one's open requests for interrupted ones.
  absl::Status status = database_.Execute(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  status = MakeTables();
  if (status.ok()) status = Recover();
  if (!status.ok()) return status;  // closing the file rolls back
  if (status = database_.Execute("COMMIT"); !status.ok()) return status;
  absl::StatusOr<Statement> write = database_.Prepare(WriteRequestSql());
  if (!write.ok()) return write.status();
  write_ = *std::move(write);
  return absl::OkStatus();
}

absl::Status LedgerStore::MakeTables() {
  const absl::StatusOr<int64_t> id = database_.SelectInteger("PRAGMA application_id");
  if (!id.ok()) return id.status();
  if (*id == kApplicationId) {
    const absl::StatusOr<int64_t> version = database_.SelectInteger("PRAGMA user_version");
    if (!version.ok()) return version.status();
    if (*version == kVersion) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("it is of version ", *version, ", this server's is ", kVersion));
  }
  const absl::StatusOr<int64_t> tables =
      database_.SelectInteger("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  if (*tables > 0) return absl::DataLossError("it is a database, but no ledger");
  return database_.Execute(absl::StrCat(TablesSql(), "PRAGMA application_id = ", kApplicationId,
                                        "; PRAGMA user_version = ", kVersion));
}

absl::Status LedgerStore::Recover() {
  absl::Status status = database_.Execute(absl::StrCat(
      "UPDATE requests SET state = 'interrupted', billed_pusd = coalesce(reserved_pusd, 0),"
      " code = ",
      static_cast<int>(absl::StatusCode::kUnavailable), " WHERE state = 'open'"));
  if (!status.ok()) return status;
  const absl::StatusOr<int64_t> changed = database_.SelectInteger("SELECT changes()");
  if (changed.ok()) num_interrupted_ = *changed;
  return changed.status();
}

absl::Status LedgerStore::Write(absl::Span<const UsageRecord> records) {
  absl::Status status = WriteRows(records);
  if (database_.in_transaction()) {
    // What cannot be rolled back is found and rolled back by whoever opens the file next.
    (void)database_.Execute("ROLLBACK");
  }
  return Annotate(status);
}

absl::Status LedgerStore::WriteRows(absl::Span<const UsageRecord> records) {
  if (absl::Status status = database_.Execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  for (const UsageRecord& record : records) {
    BindRequest(record, *write_);
    if (absl::Status status = write_->Run(); !status.ok()) return status;
  }
  return database_.Execute("COMMIT");
}

absl::StatusOr<std::vector<UsageTotal>> LedgerStore::FindTotals(const UsageQuery& query) {
  std::vector<std::string> keys;
  if (query.by_day) keys.push_back("day");
  if (query.by_tenant) keys.push_back("tenant");
  if (query.by_model) keys.push_back("model");
  std::vector<std::string> columns = keys;
  columns.push_back("sum(requests)");
  columns.push_back("sum(interrupted)");
  for (const char* amount : kAmountColumns) columns.push_back(absl::StrCat("sum(", amount, ")"));
  std::vector<std::string> conditions = {"true"};
  if (query.tenant) conditions.push_back("tenant = ?");
  if (query.model) conditions.push_back("model = ?");
  if (query.first_day) conditions.push_back("day >= ?");
  if (query.last_day) conditions.push_back("day <= ?");
  std::string sql = absl::StrCat("SELECT ", absl::StrJoin(columns, ", "), " FROM totals WHERE ",
                                 absl::StrJoin(conditions, " AND "));
  if (keys.empty()) {
    absl::StrAppend(&sql, " HAVING count(*) > 0");
  } else {
    const std::string list = absl::StrJoin(keys, ", ");
    absl::StrAppend(&sql, " GROUP BY ", list, " ORDER BY ", list);
  }
  absl::StatusOr<Statement> statement = database_.Prepare(sql);
  if (!statement.ok()) return Annotate(statement.status());
  if (query.tenant) statement->Bind(*query.tenant);
  if (query.model) statement->Bind(*query.model);
  if (query.first_day) statement->Bind(DayNumber(*query.first_day));
  if (query.last_day) statement->Bind(DayNumber(*query.last_day));

  std::vector<UsageTotal> totals;
  while (true) {
    const absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return Annotate(row.status());
    if (!*row) return totals;
    UsageTotal& total = totals.emplace_back();
    int column = 0;
    if (query.by_day) total.day = DayOfNumber(statement->Integer(column++).value_or(0));
    if (query.by_tenant) total.tenant = statement->Text(column++);
    if (query.by_model) total.model = statement->Text(column++);
    total.requests = statement->Integer(column++).value_or(0);
    total.interrupted = statement->Integer(column++).value_or(0);
    const Amounts amounts = ReadAmounts(*statement, column);
    total.usage = amounts.usage;
    total.billed = amounts.billed;
    total.absorbed = amounts.absorbed;
  }
}

absl::StatusOr<UsageRecord> LedgerStore::FindRequest(const std::string& request_id,
                                                     const std::optional<std::string>& tenant) {
  absl::StatusOr<Statement> statement = database_.Prepare(
      absl::StrCat("SELECT ", RequestColumns(), " FROM requests WHERE request_id = ?"));
  if (!statement.ok()) return Annotate(statement.status());
  statement->Bind(request_id);
  const absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return Annotate(row.status());
  if (*row) {
    UsageRecord record = ReadRequest(*statement);
    if (!tenant || record.tenant == *tenant) return record;
  }
  return absl::NotFoundError(absl::StrCat("request_id: the ledger has no request ", request_id));
}

}  // namespace deltaserve
