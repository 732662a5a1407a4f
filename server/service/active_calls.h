#ifndef DELTASERVE_SERVER_SERVICE_ACTIVE_CALLS_H_
#define DELTASERVE_SERVER_SERVICE_ACTIVE_CALLS_H_

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/api/mutex.h"
#include "server/api/request_queue.h"

namespace deltaserve {

// The calls under way, for shutting down in order: refuse new ones, wait, cancel the rest.
// Thread-safe.
class ActiveCalls {
 public:
  void Add(RequestId id);
  // The call was accepted by `queue`. After CancelAll that cancels it.
  void SetQueue(RequestId id, RequestQueue* queue);
  void Remove(RequestId id);

  void RefuseNew();
  bool refusing() const;

  void CancelAll();
  bool cancelled_all() const;

  // Whether no call is left, within `limit`.
  bool AwaitNone(absl::Duration limit) const;

 private:
  mutable Mutex mutex_;
  mutable CondVar none_;
  // Null until accepted.
  absl::flat_hash_map<RequestId, RequestQueue*> queues_ ABSL_GUARDED_BY(mutex_);
  bool refusing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_all_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_ACTIVE_CALLS_H_
