#ifndef DELTASERVE_SERVER_BILLING_LEDGER_STORE_H_
#define DELTASERVE_SERVER_BILLING_LEDGER_STORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/api/usage_records.h"
#include "server/billing/sqlite.h"

namespace deltaserve {

// The ledger's file: a row for each request, and their sums by day, tenant and model, which change
// in the same transaction. One process at a time has it open, and one thread at a time this.
// Statuses: those of billing/sqlite.h, with the file's path.
class LedgerStore {
 public:
  // Makes the file where there is none. Requests that an earlier process left open are billed what
  // was reserved for them, and marked interrupted. DATA_LOSS: the file is no ledger, or one of
  // another version.
  static absl::StatusOr<LedgerStore> Open(const std::string& path);

  // How many Open found so.
  int64_t num_interrupted() const { return num_interrupted_; }

  // All of them, durably, or none. An open request may come again, closed; what comes again after
  // that is left as it was.
  absl::Status Write(absl::Span<const UsageRecord> records);

  // As UsageReader's.
  absl::StatusOr<std::vector<UsageTotal>> FindTotals(const UsageQuery& query);
  absl::StatusOr<UsageRecord> FindRequest(const std::string& request_id,
                                          const std::optional<std::string>& tenant);

 private:
  LedgerStore(std::string path, Database database)
      : path_(std::move(path)), database_(std::move(database)) {}

  absl::Status Prepare();
  absl::Status MakeTables();
  absl::Status Recover();
  absl::Status WriteRows(absl::Span<const UsageRecord> records);
  absl::Status Annotate(const absl::Status& status) const;

  std::string path_;
  Database database_;  // before the statements: they go first
  std::optional<Statement> write_;
  int64_t num_interrupted_ = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_LEDGER_STORE_H_
