#include "server/telemetry/metered_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/api/tenant.h"

namespace deltaserve {
namespace {

// Answers what it is told to, and keeps the sinks.
class FakeQueue final : public RequestQueue {
 public:
  absl::Status Submit(GenerateRequest, std::shared_ptr<TokenSink> sink) override {
    return Keep(std::move(sink));
  }
  absl::Status Submit(ScoreRequest, std::shared_ptr<TokenSink> sink) override {
    return Keep(std::move(sink));
  }
  void Cancel(RequestId id) override { cancelled = id; }
  void EndForBudget(RequestId id) override { ended = id; }
  void StopSample(RequestId id, int32_t sample) override { stopped = {id, sample}; }

  absl::Status answer;
  std::deque<std::shared_ptr<TokenSink>> sinks;
  RequestId cancelled = 0;
  RequestId ended = 0;
  std::pair<RequestId, int32_t> stopped;

 private:
  absl::Status Keep(std::shared_ptr<TokenSink> sink) {
    if (answer.ok()) sinks.push_back(std::move(sink));
    return answer;
  }
};

class Sink final : public TokenSink {
 public:
  void OnTokens(int32_t sample, absl::Span<const SampledToken> tokens) override {
    tokens_of[sample] += tokens.size();
  }
  void OnSampleDone(int32_t, FinishReason given) override { reason = given; }
  void OnDone(RequestOutcome given) override { outcome = std::move(given); }

  std::vector<size_t> tokens_of = std::vector<size_t>(2);
  std::optional<FinishReason> reason;
  std::optional<RequestOutcome> outcome;
};

class MeteredQueueTest : public testing::Test {
 protected:
  template <typename Request>
  std::shared_ptr<Sink> Submit(RequestId id) {
    auto sink = std::make_shared<Sink>();
    Request request;
    request.id = id;
    request.tenant = tenant_;
    status_ = metered_.Submit(std::move(request), sink);
    return sink;
  }
  void Step(SteadyNs begin, SteadyNs end, RequestId request) {
    SequenceWork work;
    work.request = request;
    work.phase = Phase::kDecode;
    StepStats step;
    step.begin = begin;
    step.end = end;
    step.work = {&work, 1};
    meter_.OnStep(step);
  }

  FakeQueue queue_;
  NoEnergyCounter energy_;
  CostMeter meter_{{.per_device_hour = 3'600'000'000'000, .per_kwh = {}}, energy_, 0};
  MeteredQueue metered_{queue_, meter_};
  std::shared_ptr<const Tenant> tenant_;
  absl::Status status_;
};

TEST_F(MeteredQueueTest, FillsInTheUseHoweverARequestEnds) {
  const auto generate = Submit<GenerateRequest>(1);
  const auto score = Submit<ScoreRequest>(2);
  Step(0, 100, 1);
  Step(100, 107, 2);
  const SampledToken token;
  queue_.sinks[0]->OnTokens(1, {&token, 1});
  queue_.sinks[0]->OnSampleDone(1, FinishReason::kLength);
  queue_.sinks[0]->OnDone({});
  RequestOutcome cancelled;
  cancelled.status = absl::CancelledError();
  cancelled.usage.prompt_tokens = 5;
  queue_.sinks[1]->OnDone(std::move(cancelled));

  EXPECT_EQ(generate->tokens_of[1], 1u);
  EXPECT_EQ(generate->reason, FinishReason::kLength);
  const DeviceUse use = generate->outcome->usage.TotalDeviceUse();
  EXPECT_EQ(use.device_ns, 100);
  EXPECT_EQ(use.cost, 100'000);  // a dollar a second
  EXPECT_EQ(score->outcome->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(score->outcome->usage.prompt_tokens, 5);
  EXPECT_EQ(score->outcome->usage.TotalDeviceUse().device_ns, 7);
}

TEST_F(MeteredQueueTest, ARefusedRequestLeavesNothing) {
  queue_.answer = absl::ResourceExhaustedError("full");
  const auto sink = Submit<GenerateRequest>(1);
  EXPECT_EQ(status_, queue_.answer);
  Step(0, 100, 1);
  EXPECT_EQ(meter_.Close(1)[Phase::kDecode].device_ns, 0);
  EXPECT_FALSE(sink->outcome.has_value());
}

TEST_F(MeteredQueueTest, TheUseIsItsTenants) {
  Submit<GenerateRequest>(1);  // of nobody
  tenant_ = std::make_shared<Tenant>(Tenant{.name = "acme"});
  Submit<ScoreRequest>(2);
  Step(0, 100, 1);
  Step(100, 107, 2);
  const DeviceAccount account = meter_.Account(107);
  ASSERT_EQ(account.shares.size(), 2u);
  EXPECT_EQ(account.shares[0].tenant, "acme");
  EXPECT_EQ(account.shares[0].use[Phase::kDecode].device_ns, 7);
  EXPECT_EQ(account.shares[1].tenant, "default");
  EXPECT_EQ(account.shares[1].use[Phase::kDecode].device_ns, 100);
}

TEST_F(MeteredQueueTest, HandsOnTheRest) {
  metered_.Cancel(3);
  metered_.EndForBudget(5);
  metered_.StopSample(4, 1);
  EXPECT_EQ(queue_.cancelled, 3u);
  EXPECT_EQ(queue_.ended, 5u);
  EXPECT_EQ(queue_.stopped, std::make_pair(RequestId{4}, 1));
}

}  // namespace
}  // namespace deltaserve
