#include "server/billing/usage_ledger.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace deltaserve {
namespace {

// Records of one commit. While the file cannot be written, whoever waits for an attempt waits for
// no more than these.
constexpr size_t kMaxCommit = 1000;

}  // namespace

absl::StatusOr<std::unique_ptr<UsageLedger>> UsageLedger::Open(const std::string& path,
                                                               Options options) {
  absl::StatusOr<LedgerStore> store = LedgerStore::Open(path);
  if (!store.ok()) return store.status();
  // Not make_unique: the constructor is private.
  return std::unique_ptr<UsageLedger>(new UsageLedger(*std::move(store), std::move(options)));
}

UsageLedger::UsageLedger(LedgerStore store, Options options)
    : options_(std::move(options)),
      num_interrupted_(store.num_interrupted()),
      store_(std::move(store)),
      thread_([this] { Run(); }) {}

UsageLedger::~UsageLedger() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

void UsageLedger::Write(UsageRecord record, Written written) {
  MutexLock lock(&mutex_);
  work_.records.push_back(std::move(record));
  work_.written.push_back(std::move(written));
  woken_.NotifyAll();
}

absl::Status UsageLedger::status() const {
  MutexLock lock(&mutex_);
  return status_;
}

int64_t UsageLedger::num_lost() const {
  MutexLock lock(&mutex_);
  return num_lost_;
}

// `find` asks the store.
template <typename T, typename Find>
void UsageLedger::Ask(Answer<T> answer, Find find) {
  {
    MutexLock lock(&mutex_);
    if (unanswered_reads_ < options_.max_reads) {
      ++unanswered_reads_;
      work_.reads.push_back([answer = std::move(answer), find = std::move(find)](
                                LedgerStore& store) mutable { answer(find(store)); });
      woken_.NotifyAll();
      return;
    }
  }
  answer(absl::ResourceExhaustedError(absl::StrCat("the ledger is busy: ", options_.max_reads,
                                                   " questions are waiting for their answers")));
}

void UsageLedger::FindTotals(UsageQuery query, Answer<std::vector<UsageTotal>> answer) {
  Ask(std::move(answer),
      [query = std::move(query)](LedgerStore& store) { return store.FindTotals(query); });
}

void UsageLedger::FindRequest(std::string request_id, std::optional<std::string> tenant,
                              Answer<UsageRecord> answer) {
  Ask(std::move(answer), [request_id = std::move(request_id), tenant = std::move(tenant)](
                             LedgerStore& store) { return store.FindRequest(request_id, tenant); });
}

UsageLedger::Work UsageLedger::Take(bool retries, bool* stopping) {
  const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !work_.empty();
  };
  MutexLock lock(&mutex_);
  if (retries) {
    woken_.WaitFor(&mutex_, options_.retry, woken);
  } else {
    woken_.Wait(&mutex_, woken);
  }
  *stopping = stopping_;
  return std::exchange(work_, {});
}

absl::Status UsageLedger::Commit(std::vector<UsageRecord> records,
                                 std::vector<UsageRecord>* unwritten) {
  unwritten->insert(unwritten->end(), std::make_move_iterator(records.begin()),
                    std::make_move_iterator(records.end()));
  if (unwritten->empty()) return status();
  absl::Status status;
  size_t written = 0;
  while (status.ok() && written < unwritten->size()) {
    const auto next = absl::MakeConstSpan(*unwritten).subspan(written, kMaxCommit);
    status = store_.Write(next);
    if (status.ok()) written += next.size();
  }
  unwritten->erase(unwritten->begin(), unwritten->begin() + written);
  const bool changed = status.ok() != this->status().ok();
  size_t lost = 0;
  if (unwritten->size() > options_.max_unwritten) {
    lost = unwritten->size() - options_.max_unwritten;
    unwritten->erase(unwritten->begin(), unwritten->begin() + lost);
  }
  {
    MutexLock lock(&mutex_);
    status_ = status;
    num_lost_ += lost;
  }
  if (changed) options_.on_change(status);
  return status;
}

void UsageLedger::Run() {
  std::vector<UsageRecord> unwritten;
  bool stopping = false;
  Work work;
  do {
    work = Take(/*retries=*/!unwritten.empty(), &stopping);
    const absl::Status status = Commit(std::move(work.records), &unwritten);
    for (Written& written : work.written) written(status);
    for (Read& read : work.reads) {
      read(store_);
      MutexLock lock(&mutex_);
      --unanswered_reads_;
    }
    // What was told of its end may have written once more.
  } while (!stopping || !work.written.empty());
}

}  // namespace deltaserve
