// Two devices behind one queue.
#include "server/engine/least_loaded_queue.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/failing_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

constexpr char kModel[] = "ddl_tc";

class LeastLoadedQueueTest : public testing::Test {
 protected:
  static constexpr int64_t kMaxQueued = 3;

  template <typename Request>
  absl::Status TrySubmit(Request request, std::shared_ptr<RecordingSink> sink) {
    request.model = kModel;
    request.id = ++last_id_;
    return queue_.Submit(std::move(request), std::move(sink));
  }
  template <typename Request>
  std::shared_ptr<RecordingSink> Submit(Request request, RecordingSink::TokenHook hook = nullptr) {
    auto sink = std::make_shared<RecordingSink>(std::move(hook));
    const absl::Status status = TrySubmit(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }
  int64_t load(int device) { return (device == 0 ? first_ : second_).loop().num_requests(); }
  void Finish() {
    first_.Finish();
    second_.Finish();
  }

  std::unique_ptr<FailingBackend> owned_ = std::make_unique<FailingBackend>();
  FailingBackend& backend_ = *owned_;
  TestEngine first_{std::move(owned_), {GoldenLane(kModel)}, kMaxQueued};
  TestEngine second_{MakeReferenceBackend(), {GoldenLane(kModel)}, kMaxQueued};
  LeastLoadedQueue queue_{{{&first_.loop(), &first_.loop()}, {&second_.loop(), &second_.loop()}}};
  RequestId last_id_ = 0;
};

TEST_F(LeastLoadedQueueTest, RequestsGoWhereTheFewestAre) {
  first_.Submit(GreedyRequest({1, 2}, 4));
  first_.Submit(GreedyRequest({1, 2}, 4));
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 2; ++i) sinks.push_back(Submit(GreedyRequest({1, 2, 3}, 5)));
  EXPECT_EQ(load(0), 2);
  EXPECT_EQ(load(1), 2);
  for (int i = 0; i < 2; ++i) sinks.push_back(Submit(GreedyRequest({1, 2, 3}, 5)));
  EXPECT_EQ(load(0), 3);
  EXPECT_EQ(load(1), 3);
  const absl::Status full = TrySubmit(GreedyRequest({1}, 1), std::make_shared<RecordingSink>());
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  Finish();
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->status().ok());
    EXPECT_EQ(sink->sample().ids(), sinks[0]->sample().ids());
    EXPECT_EQ(sink->violation(), "");
  }
  EXPECT_EQ(load(0) + load(1), 0);
}

TEST_F(LeastLoadedQueueTest, AFullQueueIsPassedBy) {
  TestEngine tight(MakeReferenceBackend(), {GoldenLane(kModel)}, /*max_queued=*/1);
  LeastLoadedQueue queue({{&tight.loop(), &tight.loop()}, {&second_.loop(), &second_.loop()}});
  tight.Submit(GreedyRequest({1, 2}, 4));
  for (int i = 0; i < 2; ++i) second_.Submit(GreedyRequest({1, 2}, 4));
  GenerateRequest request = GreedyRequest({1, 2}, 4);
  request.model = kModel;
  request.id = 1;
  EXPECT_TRUE(queue.Submit(request, std::make_shared<RecordingSink>()).ok());
  EXPECT_EQ(tight.loop().num_requests(), 1);
  EXPECT_EQ(load(1), 3);
  tight.Finish();
  Finish();
}

TEST_F(LeastLoadedQueueTest, CommandsFindTheirRequest) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 2; ++i) {
    sinks.push_back(Submit(GreedyRequest({1, 2}, 60), [this](int32_t, int64_t num_tokens) {
      if (num_tokens == 3) queue_.Cancel(1);
      if (num_tokens == 3) queue_.StopSample(2, 0);
    }));
  }
  EXPECT_EQ(load(0), 1);
  EXPECT_EQ(load(1), 1);
  Finish();
  EXPECT_EQ(sinks[0]->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sinks[1]->sample().finish, FinishReason::kStop);
}

TEST_F(LeastLoadedQueueTest, ALostDeviceIsPassedByAndTheOtherGoesOn) {
  backend_.FailAfter(0);
  const auto lost = Submit(GreedyRequest({1, 2}, 5));
  const auto well = Submit(GreedyRequest({1, 2}, 5));
  Finish();
  EXPECT_EQ(lost->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(well->status().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Submit(SequenceRequest({1, 2, 3}))->status().ok());
    EXPECT_EQ(load(0), 0);
  }
}

TEST_F(LeastLoadedQueueTest, WhatCanNeverFitIsRefusedAtOnce) {
  GenerateRequest request = GreedyRequest({1}, 1 << 20);
  EXPECT_EQ(TrySubmit(request, std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(LeastLoadedQueueTest, WithoutADeviceItIsUnavailable) {
  first_.loop().Stop();
  second_.loop().Stop();
  EXPECT_EQ(TrySubmit(GreedyRequest({1}, 1), std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace deltaserve
