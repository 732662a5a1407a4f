#ifndef DELTASERVE_SERVER_ENGINE_LEAST_LOADED_QUEUE_H_
#define DELTASERVE_SERVER_ENGINE_LEAST_LOADED_QUEUE_H_

#include <memory>
#include <utility>
#include <vector>

#include "server/api/request_queue.h"
#include "server/engine/engine_loop.h"

namespace deltaserve {

// The way into several devices that serve the same models. A request goes to the device that has
// the fewest, and stays there; to the next one where that one's queue is full or it is lost.
// Thread-safe.
class LeastLoadedQueue final : public RequestQueue {
 public:
  // Both outlive the queue.
  struct Device {
    RequestQueue* queue;  // that leads to `engine`
    const EngineLoop* engine;
  };
  explicit LeastLoadedQueue(std::vector<Device> devices) : devices_(std::move(devices)) {}

  // UNAVAILABLE where all devices are lost, RESOURCE_EXHAUSTED where the queues of the others are
  // full.
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;
  // Where the request is not, these are ignored.
  void Cancel(RequestId id) override;
  void EndForBudget(RequestId id) override;
  void StopSample(RequestId id, int32_t sample) override;

 private:
  template <typename Request>
  absl::Status SubmitToLeastLoaded(Request request, std::shared_ptr<TokenSink> sink);

  const std::vector<Device> devices_;  // at least one
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_LEAST_LOADED_QUEUE_H_
