// An engine that does nothing by itself: the test ends its requests, at any cost.
#ifndef DELTASERVE_TESTS_BILLING_SCRIPTED_ENGINE_H_
#define DELTASERVE_TESTS_BILLING_SCRIPTED_ENGINE_H_

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/api/mutex.h"
#include "server/api/request_queue.h"

namespace deltaserve {

// Thread-safe.
class ScriptedEngine final : public RequestQueue {
 public:
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override {
    return Take(request.id, std::move(sink));
  }
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override {
    return Take(request.id, std::move(sink));
  }
  void Cancel(RequestId id) override {
    MutexLock lock(&mutex_);
    cancelled_.push_back(id);
    changed_.NotifyAll();
  }
  void EndForBudget(RequestId id) override {
    MutexLock lock(&mutex_);
    ended_for_budget_.push_back(id);
  }
  void StopSample(RequestId, int32_t) override {}

  // From now on.
  void Answer(absl::Status status) {
    MutexLock lock(&mutex_);
    answer_ = std::move(status);
  }
  bool Has(RequestId id) {
    MutexLock lock(&mutex_);
    return sinks_.count(id) > 0;
  }
  // Waits until it was submitted.
  void Await(RequestId id) {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return sinks_.count(id) > 0; });
  }
  void AwaitCancel(RequestId id) {
    MutexLock lock(&mutex_);
    changed_.Wait(&mutex_, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return std::count(cancelled_.begin(), cancelled_.end(), id) > 0;
    });
  }
  // Waits until it was submitted, and ends it at that cost.
  void Finish(RequestId id, Picodollars cost, absl::Status status = absl::OkStatus()) {
    Await(id);
    std::shared_ptr<TokenSink> sink;
    {
      MutexLock lock(&mutex_);
      sink = std::move(sinks_[id]);
      sinks_.erase(id);
    }
    RequestOutcome outcome;
    outcome.status = std::move(status);
    outcome.usage.prompt_tokens = 3;
    outcome.usage.completion_tokens = 2;
    outcome.usage.device[Phase::kDecode] = {.device_ns = 2 * cost, .energy_uj = {}, .cost = cost};
    sink->OnDone(std::move(outcome));
  }
  std::vector<RequestId> ended_for_budget() {
    MutexLock lock(&mutex_);
    return ended_for_budget_;
  }

 private:
  absl::Status Take(RequestId id, std::shared_ptr<TokenSink> sink) {
    MutexLock lock(&mutex_);
    if (answer_.ok()) sinks_[id] = std::move(sink);
    changed_.NotifyAll();
    return answer_;
  }

  Mutex mutex_;
  CondVar changed_;
  absl::Status answer_ ABSL_GUARDED_BY(mutex_);
  std::map<RequestId, std::shared_ptr<TokenSink>> sinks_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> ended_for_budget_ ABSL_GUARDED_BY(mutex_);
};

// Waits for the end.
class AwaitedSink final : public TokenSink {
 public:
  void OnTokens(int32_t, absl::Span<const SampledToken>) override {}
  void OnSampleDone(int32_t, FinishReason) override {}
  void OnDone(RequestOutcome outcome) override {
    MutexLock lock(&mutex_);
    outcome_ = std::move(outcome);
    done_.NotifyAll();
  }

  const RequestOutcome& Await() {
    MutexLock lock(&mutex_);
    done_.Wait(&mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return outcome_.has_value(); });
    return *outcome_;
  }
  bool done() {
    MutexLock lock(&mutex_);
    return outcome_.has_value();
  }

 private:
  Mutex mutex_;
  CondVar done_;
  std::optional<RequestOutcome> outcome_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deltaserve

#endif  // DELTASERVE_TESTS_BILLING_SCRIPTED_ENGINE_H_
