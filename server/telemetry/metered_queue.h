#ifndef DELTASERVE_SERVER_TELEMETRY_METERED_QUEUE_H_
#define DELTASERVE_SERVER_TELEMETRY_METERED_QUEUE_H_

#include <memory>

#include "server/api/forwarding_queue.h"
#include "server/telemetry/cost_meter.h"

namespace deltaserve {

// The way into an engine whose steps `meter` observes: fills in what each request made the device
// spend before its sink hears of its end, however it ends. Thread-safe; both must outlive it.
class MeteredQueue final : public ForwardingQueue {
 public:
  MeteredQueue(RequestQueue& queue, CostMeter& meter) : ForwardingQueue(queue), meter_(meter) {}

  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override;

 private:
  template <typename Request>
  absl::Status SubmitMetered(Request request, std::shared_ptr<TokenSink> sink);

  CostMeter& meter_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_TELEMETRY_METERED_QUEUE_H_
