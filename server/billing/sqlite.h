#ifndef DELTASERVE_SERVER_BILLING_SQLITE_H_
#define DELTASERVE_SERVER_BILLING_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

// SQLite with statuses. UNAVAILABLE: locked by another process, no space left, or an error of the
// disk, which may pass; DATA_LOSS: not a database, or a damaged one; INTERNAL: a bug. One thread at
// a time.

// A prepared statement. Parameters are bound in their order, then Step; Reset to begin anew.
class Statement {
 public:
  void Bind(std::optional<int64_t> value);
  void Bind(std::string_view text);  // copied

  // Whether there is a row.
  absl::StatusOr<bool> Step();
  // Steps to the end and resets.
  absl::Status Run();
  void Reset();

  // Of the row, the columns counted from 0.
  std::optional<int64_t> Integer(int column) const;
  std::string Text(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bound_ = 0;
};

class Database {
 public:
  // Made where there is none.
  static absl::StatusOr<Database> Open(const std::string& path);

  absl::Status Execute(const std::string& sql);
  absl::StatusOr<Statement> Prepare(const std::string& sql);
  // The one number that `sql` selects.
  absl::StatusOr<int64_t> SelectInteger(const std::string& sql);
  // Between BEGIN and COMMIT; some errors roll back by themselves.
  bool in_transaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  explicit Database(sqlite3* database) : database_(database) {}

  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_SQLITE_H_
