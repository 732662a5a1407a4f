#include "server/service/fair_queue.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/api/tenant.h"

namespace deltaserve {

// A request that ends before its first step waits no longer, either.
class FairQueue::Sink final : public ForwardingSink {
 public:
  Sink(FairQueue& queue, RequestId id, std::shared_ptr<TokenSink> sink)
      : ForwardingSink(std::move(sink)), queue_(queue), id_(id) {}

  void OnDone(RequestOutcome outcome) override {
    queue_.Leave(id_);
    next()->OnDone(std::move(outcome));
  }

 private:
  FairQueue& queue_;
  const RequestId id_;
};

template <typename Request>
absl::Status FairQueue::SubmitFairly(Request request, std::shared_ptr<TokenSink> sink) {
  const RequestId id = request.id;
  Line line(request.model, request.tenant != nullptr ? request.tenant->name : Tenant().name);
  {
    MutexLock lock(&mutex_);
    const auto at = lines_.try_emplace(std::move(line), 0).first;
    if (at->second >= max_waiting_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("tenant ", at->first.second, " has its share of the queue of model \"",
                       at->first.first, "\": ", max_waiting_, " requests are waiting"));
    }
    ++at->second;
    waiting_.emplace(id, at);
  }
  absl::Status status =
      next().Submit(std::move(request), std::make_shared<Sink>(*this, id, std::move(sink)));
  if (!status.ok()) Leave(id);
  return status;
}

absl::Status FairQueue::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitFairly(std::move(request), std::move(sink));
}

absl::Status FairQueue::Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) {
  return SubmitFairly(std::move(request), std::move(sink));
}

void FairQueue::OnStep(const StepStats& step) {
  MutexLock lock(&mutex_);
  if (waiting_.empty()) return;
  for (const SequenceWork& work : step.work) LeaveLocked(work.request);
}

void FairQueue::Leave(RequestId id) {
  MutexLock lock(&mutex_);
  LeaveLocked(id);
}

void FairQueue::LeaveLocked(RequestId id) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  const auto line = found->second;
  waiting_.erase(found);
  if (--line->second == 0) lines_.erase(line);
}

}  // namespace deltaserve
