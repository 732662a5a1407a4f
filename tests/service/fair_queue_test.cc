#include "server/service/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/api/tenant.h"

namespace deltaserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Keeps what it is given. Of one thread at a time.
class KeepingQueue final : public RequestQueue {
 public:
  absl::Status Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override {
    if (answer.ok()) sinks[request.id] = std::move(sink);
    return answer;
  }
  absl::Status Submit(ScoreRequest request, std::shared_ptr<TokenSink> sink) override {
    if (answer.ok()) sinks[request.id] = std::move(sink);
    return answer;
  }
  void Cancel(RequestId id) override { cancelled = id; }
  void EndForBudget(RequestId) override {}
  void StopSample(RequestId, int32_t) override {}

  absl::Status answer;
  std::map<RequestId, std::shared_ptr<TokenSink>> sinks;
  RequestId cancelled = 0;
};

class NoSink final : public TokenSink {
 public:
  void OnTokens(int32_t, absl::Span<const SampledToken>) override {}
  void OnSampleDone(int32_t, FinishReason) override {}
  void OnDone(RequestOutcome outcome) override { status = outcome.status; }

  absl::Status status = absl::UnknownError("not ended");
};

class FairQueueTest : public testing::Test {
 protected:
  template <typename Request = GenerateRequest>
  absl::Status Submit(RequestId id, const char* tenant, const char* model = "m") {
    Request request;
    request.id = id;
    request.model = model;
    if (tenant != nullptr) request.tenant = std::make_shared<Tenant>(Tenant{.name = tenant});
    return fair_.Submit(std::move(request), sink_);
  }

  void Step(std::vector<RequestId> ids) {
    std::vector<SequenceWork> work;
    for (const RequestId id : ids) work.push_back({.request = id, .sequence = id});
    StepStats step;
    step.model = "m";
    step.work = work;
    fair_.OnStep(step);
  }

  KeepingQueue queue_;
  FairQueue fair_{queue_, /*max_waiting_per_tenant=*/2};
  std::shared_ptr<NoSink> sink_ = std::make_shared<NoSink>();
};

TEST_F(FairQueueTest, ATenantHasItsShareAndLeavesTheRestToOthers) {
  ASSERT_TRUE(Submit(1, "acme").ok());
  ASSERT_TRUE(Submit<ScoreRequest>(2, "acme").ok());
  const absl::Status refused = Submit(3, "acme");
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("tenant acme"), HasSubstr("\"m\"")));
  EXPECT_EQ(queue_.sinks.count(3), 0u);
  EXPECT_TRUE(Submit(4, "bob").ok());
  EXPECT_TRUE(Submit(5, nullptr).ok());
  EXPECT_TRUE(Submit(6, "acme", "another").ok());  // each model has a queue
}

TEST_F(FairQueueTest, WhatRunsDoesNotWait) {
  ASSERT_TRUE(Submit(1, "acme").ok());
  ASSERT_TRUE(Submit(2, "acme").ok());
  Step({1});
  Step({1});
  EXPECT_TRUE(Submit(3, "acme").ok());
  EXPECT_FALSE(Submit(4, "acme").ok());
  // Its end frees no place a second time.
  queue_.sinks[1]->OnDone({});
  EXPECT_FALSE(Submit(5, "acme").ok());
}

TEST_F(FairQueueTest, WhatEndsWhileItWaitsOrIsRefusedGivesItsPlaceBack) {
  for (RequestId id = 1; id <= 20; ++id) {
    queue_.answer = id % 2 == 0 ? absl::OkStatus() : absl::UnavailableError("draining");
    EXPECT_EQ(Submit(id, "acme"), queue_.answer);
    if (!queue_.answer.ok()) continue;
    RequestOutcome outcome;
    outcome.status = absl::CancelledError("gone");
    queue_.sinks[id]->OnDone(std::move(outcome));
    EXPECT_TRUE(absl::IsCancelled(sink_->status));
  }
}

TEST_F(FairQueueTest, HandsOnTheRest) {
  fair_.Cancel(7);
  EXPECT_EQ(queue_.cancelled, 7u);
}

}  // namespace
}  // namespace deltaserve
