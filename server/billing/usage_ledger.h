#ifndef DELTASERVE_SERVER_BILLING_USAGE_LEDGER_H_
#define DELTASERVE_SERVER_BILLING_USAGE_LEDGER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/api/mutex.h"
#include "server/api/usage_records.h"
#include "server/billing/ledger_store.h"

namespace deltaserve {

// The durable account of who used what. A thread of its own has the file: what others write while
// it waits for the disk comes with its next commit. Thread-safe.
class UsageLedger final : public UsageReader {
 public:
  struct Options {
    // Called on the ledger's thread when writing begins to fail, and when it is well again.
    std::function<void(const absl::Status&)> on_change = [](const absl::Status&) {};
    // How long after a failure it is tried again by itself.
    absl::Duration retry = absl::Seconds(1);
    // Records of failed commits that are kept to be tried again; beyond that the oldest go.
    size_t max_unwritten = 100'000;
    // Reads that may wait for their answer: what is written waits behind them.
    size_t max_reads = 64;
  };

  // Statuses: LedgerStore::Open's. Then on_change has not been called.
  static absl::StatusOr<std::unique_ptr<UsageLedger>> Open(const std::string& path,
                                                           Options options);
  // Tries once to write what was given to it.
  ~UsageLedger() override;

  UsageLedger(const UsageLedger&) = delete;
  UsageLedger& operator=(const UsageLedger&) = delete;

  // `written` is called on the ledger's thread after the commit, with OK once the record is durable
  // and so is everything written before it. Otherwise the record is kept and tried again with later
  // ones, but `written` is not called again. Never waits. `written` must not either.
  using Written = absl::AnyInvocable<void(const absl::Status&)>;
  void Write(UsageRecord record, Written written);

  // Of the last commit.
  absl::Status status() const;
  // Records that were given up.
  int64_t num_lost() const;
  // Requests that an earlier process left open.
  int64_t num_interrupted() const { return num_interrupted_; }

  // RESOURCE_EXHAUSTED, on the caller's thread: max_reads are waiting.
  void FindTotals(UsageQuery query, Answer<std::vector<UsageTotal>> answer) override;
  void FindRequest(std::string request_id, std::optional<std::string> tenant,
                   Answer<UsageRecord> answer) override;

 private:
  using Read = absl::AnyInvocable<void(LedgerStore&)>;
  struct Work {
    std::vector<UsageRecord> records;
    std::vector<Written> written;
    std::vector<Read> reads;
    bool empty() const { return records.empty() && reads.empty(); }
  };

  UsageLedger(LedgerStore store, Options options);
  template <typename T, typename Find>
  void Ask(Answer<T> answer, Find find);
  void Run();
  // Waits for work, the end, or, with `retries`, the time to try again.
  Work Take(bool retries, bool* stopping);
  // Returns the commit's status; `unwritten` keeps what failed.
  absl::Status Commit(std::vector<UsageRecord> records, std::vector<UsageRecord>* unwritten);

  const Options options_;
  const int64_t num_interrupted_;
  LedgerStore store_;  // the ledger thread's
  mutable Mutex mutex_;
  CondVar woken_;
  Work work_ ABSL_GUARDED_BY(mutex_);
  size_t unanswered_reads_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  int64_t num_lost_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_USAGE_LEDGER_H_
