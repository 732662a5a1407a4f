// For queues that stand before another one, and for the sinks with which they follow a request:
// they pass on what they do not say anything about themselves.
#ifndef DELTASERVE_SERVER_API_FORWARDING_QUEUE_H_
#define DELTASERVE_SERVER_API_FORWARDING_QUEUE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "server/api/request_queue.h"
#include "server/api/token_sink.h"

namespace deltaserve {

class ForwardingQueue : public RequestQueue {
 public:
  void Cancel(RequestId id) override { next_.Cancel(id); }
  void EndForBudget(RequestId id) override { next_.EndForBudget(id); }
  void StopSample(RequestId id, int32_t sample) override { next_.StopSample(id, sample); }

 protected:
  // `next` outlives it.
  explicit ForwardingQueue(RequestQueue& next) : next_(next) {}
  RequestQueue& next() { return next_; }

 private:
  RequestQueue& next_;
};

class ForwardingSink : public TokenSink {
 public:
  void OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) override {
    next_->OnTokens(sample, tokens);
  }
  void OnSampleDone(int32_t sample, FinishReason reason) override {
    next_->OnSampleDone(sample, reason);
  }

 protected:
  explicit ForwardingSink(std::shared_ptr<TokenSink> next) : next_(std::move(next)) {}
  const std::shared_ptr<TokenSink>& next() const { return next_; }

 private:
  const std::shared_ptr<TokenSink> next_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_API_FORWARDING_QUEUE_H_
