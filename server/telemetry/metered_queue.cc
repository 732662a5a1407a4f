#include "server/telemetry/metered_queue.h"

#include <utility>

#include "server/api/tenant.h"

namespace deltaserve {
namespace {

class MeteredSink final : public ForwardingSink {
 public:
  MeteredSink(RequestId request, CostMeter& meter, std::shared_ptr<TokenSink> sink)
      : ForwardingSink(std::move(sink)), request_(request), meter_(meter) {}

  void OnDone(RequestOutcome outcome) override {
    outcome.usage.device = meter_.Close(request_);
    next()->OnDone(std::move(outcome));
  }

 private:
  const RequestId request_;
  CostMeter& meter_;
};

}  // namespace

template <typename Request>
absl::Status MeteredQueue::SubmitMetered(Request request, std::shared_ptr<TokenSink> sink) {
  const RequestId id = request.id;
  meter_.Open(id, request.tenant != nullptr ? request.tenant->name : Tenant().name);
  absl::Status status =
      next().Submit(std::move(request), std::make_shared<MeteredSink>(id, meter_, std::move(sink)));
  if (!status.ok()) meter_.Close(id);
  return status;
}

absl::Status MeteredQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitMetered(std::move(request), std::move(sink));
}

absl::Status MeteredQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitMetered(std::move(request), std::move(sink));
}

}  // namespace deltaserve
