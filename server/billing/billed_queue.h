#ifndef DELTASERVE_SERVER_BILLING_BILLED_QUEUE_H_
#define DELTASERVE_SERVER_BILLING_BILLED_QUEUE_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/api/forwarding_queue.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"
#include "server/billing/budgets.h"
#include "server/billing/cost_forecast.h"
#include "server/billing/usage_ledger.h"

namespace deltaserve {

// What becomes of requests while the ledger cannot be written.
enum class LedgerFailure : uint8_t {
  kRefuse,    // new ones are refused; those under way end with UNAVAILABLE
  kContinue,  // they go on; their usage says that it is not durable
};

// The way into the engine for those who pay. A request of a tenant with a budget is forwarded once
// its reservation is durable, and ends when it has cost as much; every request's sink hears of its
// end once the ledger has it. A tenant is billed what its request cost, but no more than was
// reserved; the rest is absorbed.
//
// Thread-safe. As a StepObserver it comes after the meter, whose accounts it reads. Sinks are told
// of the end on the ledger's thread, and of a request that does not get as far as the engine, too.
class BilledQueue final : public ForwardingQueue, public StepObserver {
 public:
  // All outlive the queue, and it the requests. `queue` fills in what the device did
  // (MeteredQueue).
  struct Dependencies {
    RequestQueue& queue;
    UsageLedger& ledger;
    Budgets& budgets;
    CostForecast& forecast;
    // What a request under way has cost so far.
    std::function<Picodollars(RequestId)> cost_so_far;
    std::function<absl::Time()> now;  // the wall clock
  };
  BilledQueue(Dependencies dependencies, LedgerFailure on_failure)
      : ForwardingQueue(dependencies.queue),
        dependencies_(std::move(dependencies)),
        on_failure_(on_failure) {}

  // Besides RequestQueue's statuses: RESOURCE_EXHAUSTED, the budget is; UNAVAILABLE, the ledger
  // cannot be written.
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(RequestId id) override;

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  class Sink;

  template <typename Request>
  absl::Status SubmitBilled(Request request, std::shared_ptr<TokenSink> sink);
  // The reservation is durable, or cannot be made so. On the ledger's thread.
  template <typename Request>
  void Forward(Request request, std::shared_ptr<Sink> sink, const absl::Status& durable);
  absl::Status LedgerRefusal(const absl::Status& status) const;

  const Dependencies dependencies_;
  const LedgerFailure on_failure_;
  Mutex mutex_;
  // Requests whose reservation is being written, and whether they have been cancelled.
  absl::flat_hash_map<RequestId, bool> opening_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<RequestId, Picodollars> reserved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_BILLING_BILLED_QUEUE_H_
