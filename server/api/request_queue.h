#ifndef DELTASERVE_SERVER_API_REQUEST_QUEUE_H_
#define DELTASERVE_SERVER_API_REQUEST_QUEUE_H_

#include <memory>

#include "absl/status/status.h"
#include "server/api/request.h"
#include "server/api/token_sink.h"

namespace deltaserve {

// The way into the engine. Thread-safe; no call blocks on a step.
class RequestQueue {
 public:
  virtual ~RequestQueue() = default;

  // OK: the request is accepted and its sink will see OnDone exactly once. Otherwise the sink is
  // never called: NOT_FOUND (model), INVALID_ARGUMENT (can never fit), RESOURCE_EXHAUSTED (queue
  // full; waiting helps), UNAVAILABLE (draining, or the device is lost).
  virtual absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) = 0;
  virtual absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) = 0;

  // Ends the request with CANCELLED, at the latest after the step under way. Unknown and finished
  // ids are ignored.
  virtual void Cancel(RequestId id) = 0;
  // Ends the request, at the latest after the step under way: it has used up what was set aside for
  // it. Its samples end with kBudget, and so well; a ScoreRequest, which has nothing to show before
  // its end, with RESOURCE_EXHAUSTED.
  virtual void EndForBudget(RequestId id) = 0;
  // Ends one sample with kStop: its text reached a stop string. Tokens it has made since are the
  // caller's to drop.
  virtual void StopSample(RequestId id, int32_t sample) = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_REQUEST_QUEUE_H_
