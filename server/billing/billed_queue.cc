#include "server/billing/billed_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace deltaserve {

// Keeps the end to itself until the ledger has it.
class BilledQueue::Sink final : public ForwardingSink {
 public:
  Sink(BilledQueue& queue, RequestId id, UsageRecord record, std::shared_ptr<TokenSink> sink)
      : ForwardingSink(std::move(sink)), queue_(queue), id_(id), record_(std::move(record)) {}

  const UsageRecord& record() const { return record_; }

  void OnDone(RequestOutcome outcome) override {
    const Dependencies& dependencies = queue_.dependencies_;
    const DeviceUse used = outcome.usage.TotalDeviceUse();
    const Picodollars cost = used.cost.value_or(0);
    record_.state = UsageRecord::State::kClosed;
    record_.closed = dependencies.now();
    record_.code = outcome.status.code();
    record_.billed = record_.reserved ? std::min(cost, *record_.reserved) : cost;
    record_.absorbed = cost - record_.billed;
    if (used.cost) outcome.usage.billed = record_.billed;
    record_.usage = outcome.usage;
    dependencies.forecast.OnUsed(used);
    if (record_.reserved) {
      MutexLock lock(&queue_.mutex_);
      queue_.reserved_.erase(id_);
    }
    dependencies.ledger.Write(
        record_, [&queue = queue_, sink = next(),
                  outcome = std::move(outcome)](const absl::Status& written) mutable {
          outcome.usage.durable = written.ok();
          if (!written.ok() && outcome.status.ok() && queue.on_failure_ == LedgerFailure::kRefuse) {
            outcome.status = queue.LedgerRefusal(written);
          }
          sink->OnDone(std::move(outcome));
        });
    // After the record is on its way: whoever reserves what is free now comes after it in the
    // ledger, so that after a crash the two cannot both be missing.
    dependencies.budgets.Settle(record_.tenant, DayOf(record_.opened), record_.reserved.value_or(0),
                                record_.billed, record_.absorbed);
  }

 private:
  BilledQueue& queue_;
  const RequestId id_;
  UsageRecord record_;
};

absl::Status BilledQueue::LedgerRefusal(const absl::Status& status) const {
  return absl::UnavailableError(
      absl::StrCat("the usage ledger cannot be written: ", status.message()));
}

template <typename Request>
absl::Status BilledQueue::SubmitBilled(Request request, std::shared_ptr<TokenSink> sink) {
  if (on_failure_ == LedgerFailure::kRefuse) {
    if (absl::Status status = dependencies_.ledger.status(); !status.ok()) {
      return LedgerRefusal(status);
    }
  }
  UsageRecord record;
  record.request_id = request.name;
  record.tenant = request.tenant->name;
  record.model = request.model;
  record.opened = dependencies_.now();
  const RequestId id = request.id;
  if (!request.tenant->budget) {
    return next().Submit(std::move(request),
                         std::make_shared<Sink>(*this, id, std::move(record), std::move(sink)));
  }

  const Picodollars amount = dependencies_.forecast.WorstCase(request);
  if (absl::Status status = dependencies_.budgets.Reserve(*request.tenant, amount, record.opened);
      !status.ok()) {
    return status;
  }
  record.reserved = amount;
  {
    MutexLock lock(&mutex_);
    opening_.emplace(id, false);
    reserved_.emplace(id, amount);
  }
  auto billed = std::make_shared<Sink>(*this, id, record, std::move(sink));
  dependencies_.ledger.Write(std::move(record),
                             [this, request = std::move(request),
                              billed = std::move(billed)](const absl::Status& durable) mutable {
                               Forward(std::move(request), std::move(billed), durable);
                             });
  return absl::OkStatus();
}

template <typename Request>
void BilledQueue::Forward(Request request, std::shared_ptr<Sink> sink,
                          const absl::Status& durable) {
  const RequestId id = request.id;
  absl::Status status;
  if (!durable.ok() && on_failure_ == LedgerFailure::kRefuse) status = LedgerRefusal(durable);
  if (status.ok()) status = next().Submit(std::move(request), sink);
  bool cancelled = false;
  {
    MutexLock lock(&mutex_);
    const auto opening = opening_.find(id);
    cancelled = opening->second;
    opening_.erase(opening);
  }
  if (!status.ok()) {
    RequestOutcome outcome;
    outcome.status = std::move(status);
    sink->OnDone(std::move(outcome));
  } else if (cancelled) {
    // It may have come before the queue knew the request.
    next().Cancel(id);
  }
}

absl::Status BilledQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitBilled(std::move(request), std::move(sink));
}

absl::Status BilledQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitBilled(std::move(request), std::move(sink));
}

void BilledQueue::Cancel(RequestId id) {
  {
    MutexLock lock(&mutex_);
    if (const auto opening = opening_.find(id); opening != opening_.end()) opening->second = true;
  }
  next().Cancel(id);
}

void BilledQueue::OnStep(const StepStats& step) {
  // Few requests of a step have a reservation, and the meter has a lock of its own.
  std::vector<std::pair<RequestId, Picodollars>> reserved;
  {
    MutexLock lock(&mutex_);
    if (reserved_.empty()) return;
    for (const SequenceWork& work : step.work) {
      const auto found = reserved_.find(work.request);
      if (found != reserved_.end()) reserved.push_back(*found);
    }
  }
  for (const auto& [id, amount] : reserved) {
    if (dependencies_.cost_so_far(id) >= amount) next().EndForBudget(id);
  }
}

}  // namespace deltaserve
