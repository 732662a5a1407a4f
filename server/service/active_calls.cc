#include "server/service/active_calls.h"

#include <utility>
#include <vector>

namespace deltaserve {

void ActiveCalls::Add(RequestId id) {
  MutexLock lock(&mutex_);
  queues_.emplace(id, nullptr);
}

void ActiveCalls::SetQueue(RequestId id, RequestQueue* queue) {
  {
    MutexLock lock(&mutex_);
    auto call = queues_.find(id);
    if (call != queues_.end()) call->second = queue;
    if (!cancelled_all_) return;
  }
  queue->Cancel(id);
}

void ActiveCalls::Remove(RequestId id) {
  MutexLock lock(&mutex_);
  queues_.erase(id);
  if (queues_.empty()) none_.NotifyAll();
}

void ActiveCalls::RefuseNew() {
  MutexLock lock(&mutex_);
  refusing_ = true;
}

bool ActiveCalls::refusing() const {
  MutexLock lock(&mutex_);
  return refusing_;
}

void ActiveCalls::CancelAll() {
  std::vector<std::pair<RequestId, RequestQueue*>> accepted;
  {
    MutexLock lock(&mutex_);
    cancelled_all_ = true;
    for (const auto& [id, queue] : queues_) {
      if (queue != nullptr) accepted.emplace_back(id, queue);
    }
  }
  // Without the lock: a queue may answer at once, and that ends the call.
  for (const auto& [id, queue] : accepted) queue->Cancel(id);
}

bool ActiveCalls::cancelled_all() const {
  MutexLock lock(&mutex_);
  return cancelled_all_;
}

bool ActiveCalls::AwaitNone(absl::Duration limit) const {
  MutexLock lock(&mutex_);
  return none_.WaitFor(&mutex_, limit,
                       [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queues_.empty(); });
}

}  // namespace deltaserve
