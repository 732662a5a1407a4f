#ifndef DELTASERVE_SERVER_SERVICE_FAIR_QUEUE_H_
#define DELTASERVE_SERVER_SERVICE_FAIR_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "server/api/forwarding_queue.h"
#include "server/api/mutex.h"
#include "server/api/observers.h"

namespace deltaserve {

// The way into a queue of which no tenant may take more than its share: so many of its requests may
// wait for their first step, of each model. As a StepObserver it hears when they no longer wait.
// Thread-safe. `queue` outlives it, and it the requests.
class FairQueue final : public ForwardingQueue, public StepObserver {
 public:
  FairQueue(RequestQueue& queue, int64_t max_waiting_per_tenant)
      : ForwardingQueue(queue), max_waiting_(max_waiting_per_tenant) {}

  // Besides the queue's statuses, RESOURCE_EXHAUSTED: the tenant has its share of the queue.
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;

  void OnStep(const StepStats& step) override;
  void OnLoad(const ModelLoad&) override {}

 private:
  class Sink;
  // Of requests that wait: a model's and a tenant's.
  using Line = std::pair<std::string, std::string>;

  template <typename Request>
  absl::Status SubmitFairly(Request request, std::shared_ptr<TokenSink> sink);
  void Leave(RequestId id);
  void LeaveLocked(RequestId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_waiting_;
  Mutex mutex_;
  std::map<Line, int64_t> lines_ ABSL_GUARDED_BY(mutex_);  // how many wait, none empty
  absl::flat_hash_map<RequestId, std::map<Line, int64_t>::iterator> waiting_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_FAIR_QUEUE_H_
