#include "server/service/active_calls.h"

#include <utility>
#include <vector>

namespace deltaserve {

void ActiveCalls::Add(RequestId id) {
  absl::MutexLock lock(&mutex_);
  queues_.emplace(id, nullptr);
}

void ActiveCalls::SetQueue(RequestId id, RequestQueue* queue) {
  {
    absl::MutexLock lock(&mutex_);
    auto call = queues_.find(id);
    if (call != queues_.end()) call->second = queue;
    if (!cancelled_all_) return;
  }
  queue->Cancel(id);
}

void ActiveCalls::Remove(RequestId id) {
  absl::MutexLock lock(&mutex_);
  queues_.erase(id);
}

void ActiveCalls::RefuseNew() {
  absl::MutexLock lock(&mutex_);
  refusing_ = true;
}

bool ActiveCalls::refusing() const {
  absl::ReaderMutexLock lock(&mutex_);
  return refusing_;
}

void ActiveCalls::CancelAll() {
  std::vector<std::pair<RequestId, RequestQueue*>> accepted;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_all_ = true;
    for (const auto& [id, queue] : queues_) {
      if (queue != nullptr) accepted.emplace_back(id, queue);
    }
  }
  // Without the lock: a queue may answer at once, and that ends the call.
  for (const auto& [id, queue] : accepted) queue->Cancel(id);
}

bool ActiveCalls::cancelled_all() const {
  absl::ReaderMutexLock lock(&mutex_);
  return cancelled_all_;
}

bool ActiveCalls::AwaitNone(absl::Duration limit) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &ActiveCalls::None), limit);
}

}  // namespace deltaserve
