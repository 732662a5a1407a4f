// The life of requests: refused, queued, running, cancelled, late, drained.
#include "server/engine/engine_loop.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
constexpr absl::StatusCode kCancelled = absl::StatusCode::kCancelled;
constexpr absl::StatusCode kDeadlineExceeded = absl::StatusCode::kDeadlineExceeded;

class EngineLoopTest : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(engine_.everything_free());
    EXPECT_EQ(engine_.loop().StalledFor(), 0);
  }
  EngineLoop& loop() { return engine_.loop(); }
  template <typename Request>
  static Request WithId(RequestId id, Request request) {
    request.id = id;
    return request;
  }

  TestEngine engine_{MakeReferenceBackend(),
                     {GoldenLane("ddl_tc"), GoldenLane("additive")},
                     /*max_queued=*/4};
};

TEST_F(EngineLoopTest, RefusesUnknownModels) {
  GenerateRequest request = GreedyRequest({1}, 1);
  request.model = "nobody";
  const auto sink = std::make_shared<RecordingSink>();
  const absl::Status status = engine_.TrySubmit(request, sink);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("nobody"), HasSubstr("ddl_tc"), HasSubstr("additive")));
  engine_.Finish();
  EXPECT_FALSE(sink->done());
}

TEST_F(EngineLoopTest, ServesItsModelsInTurn) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const char* model : {"ddl_tc", "additive"}) {
    GenerateRequest request = GreedyRequest({1, 2, 3}, 6);
    request.model = model;
    sinks.push_back(engine_.Submit(request));
  }
  engine_.Finish();
  EXPECT_NE(sinks[0]->sample().ids(), sinks[1]->sample().ids());
  const auto steps = engine_.observer().steps();
  ASSERT_EQ(steps.size(), 12u);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].model, i % 2 == 0 ? "ddl_tc" : "additive");
  }
}

TEST_F(EngineLoopTest, CancelledWhileQueued) {
  const auto sink = engine_.Submit(WithId(5, GreedyRequest({1, 2}, 4)));
  loop().Cancel(5);
  loop().Cancel(5);
  loop().Cancel(77);  // of no request
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kCancelled);
  EXPECT_EQ(sink->usage().completion_tokens, 0);
  EXPECT_TRUE(engine_.observer().steps().empty());
}

TEST_F(EngineLoopTest, CancelledWhileRunning) {
  const auto sink =
      engine_.Submit(WithId(5, GreedyRequest({1, 2}, 100)), [&](int32_t, int64_t num_tokens) {
        if (num_tokens == 3) loop().Cancel(5);
      });
  const auto other = engine_.Submit(GreedyRequest({3}, 10));
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kCancelled);
  EXPECT_EQ(sink->sample().tokens.size(), 3u);
  EXPECT_EQ(sink->usage().completion_tokens, 3);
  EXPECT_EQ(other->sample().tokens.size(), 10u);
  EXPECT_EQ(sink->violation(), "");
}

TEST_F(EngineLoopTest, StoppedSamplesEndTheirRequest) {
  GenerateRequest request = WithId(5, SampledRequest({1, 2}, 100, 1));
  request.n = 2;
  const auto sink = engine_.Submit(request, [&](int32_t sample, int64_t num_tokens) {
    if (num_tokens == 4 + sample) loop().StopSample(5, sample);
  });
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kOk);
  for (const int32_t sample : {0, 1}) {
    EXPECT_EQ(sink->sample(sample).finish, FinishReason::kStop);
    EXPECT_EQ(sink->sample(sample).tokens.size(), static_cast<size_t>(4 + sample));
  }
  loop().StopSample(5, 0);  // it is gone
  EXPECT_EQ(sink->violation(), "");
}

TEST_F(EngineLoopTest, StoppedAtTheFirstToken) {
  GenerateRequest request = WithId(5, SampledRequest({1, 2}, 100, 1));
  request.n = 3;
  const auto sink =
      engine_.Submit(request, [&](int32_t sample, int64_t) { loop().StopSample(5, sample); });
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kOk);
  for (const int32_t sample : {0, 1, 2}) EXPECT_EQ(sink->sample(sample).tokens.size(), 1u);
}

TEST_F(EngineLoopTest, LateWhileQueued) {
  GenerateRequest request = GreedyRequest({1, 2}, 4);
  request.deadline = engine_.clock().Now() + 100;
  const auto sink = engine_.Submit(request);
  engine_.clock().Advance(100);
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kDeadlineExceeded);
  EXPECT_THAT(std::string(sink->status().message()), HasSubstr("queued"));
  EXPECT_EQ(sink->usage().queue_ns, 100);
  EXPECT_EQ(sink->usage().total_ns, 100);
}

TEST_F(EngineLoopTest, LateWhileRunning) {
  GenerateRequest request = GreedyRequest({1, 2}, 50);
  request.deadline = engine_.clock().Now() + 100;
  const auto sink = engine_.Submit(request, [&](int32_t, int64_t) { engine_.clock().Advance(30); });
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kDeadlineExceeded);
  EXPECT_THAT(std::string(sink->status().message()), HasSubstr("running"));
  EXPECT_EQ(sink->sample().tokens.size(), 4u);
}

TEST_F(EngineLoopTest, EndsForItsBudgetWithWhatThereIs) {
  GenerateRequest samples = SampledRequest({1, 2}, 50, 1);
  samples.n = 3;
  const auto several = engine_.Submit(WithId(5, samples), [&](int32_t sample, int64_t num_tokens) {
    if (sample == 0 && num_tokens == 4) loop().StopSample(5, 0);
    if (sample == 1 && num_tokens == 8) loop().EndForBudget(5);
  });
  const auto queued = engine_.Submit(WithId(6, GreedyRequest({1, 2}, 50)));
  const auto score = engine_.Submit(WithId(7, SequenceRequest({1, 2, 3})));
  loop().EndForBudget(6);
  loop().EndForBudget(7);
  loop().EndForBudget(99);
  engine_.Finish();
  EXPECT_EQ(several->status().code(), kOk);
  EXPECT_EQ(several->sample(0).finish, FinishReason::kStop);
  for (const int32_t sample : {1, 2}) {
    EXPECT_EQ(several->sample(sample).finish, FinishReason::kBudget);
    EXPECT_EQ(several->sample(sample).tokens.size(), 8u);
  }
  EXPECT_EQ(queued->status().code(), kOk);
  EXPECT_EQ(queued->sample().finish, FinishReason::kBudget);
  EXPECT_EQ(queued->sample().tokens.size(), 0u);
  EXPECT_EQ(score->status().code(), absl::StatusCode::kResourceExhausted);
  for (const auto& sink : {several, queued, score}) EXPECT_EQ(sink->violation(), "");
}

TEST_F(EngineLoopTest, MeasuresTheWaits) {
  const auto sink = engine_.Submit(GreedyRequest({1, 2}, 3),
                                   [&](int32_t, int64_t) { engine_.clock().Advance(10); });
  engine_.clock().Advance(7);
  engine_.Finish();
  EXPECT_EQ(sink->usage().queue_ns, 7);
  EXPECT_EQ(sink->usage().time_to_first_token_ns, 7);
  // The end comes with the third token's step.
  EXPECT_GE(sink->usage().total_ns, 27);
}

TEST_F(EngineLoopTest, TheQueueIsBoundedForEachModel) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 4; ++i) sinks.push_back(engine_.Submit(GreedyRequest({1}, 2)));
  const auto refused = std::make_shared<RecordingSink>();
  const absl::Status status = engine_.TrySubmit(GreedyRequest({1}, 2), refused);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ddl_tc"));
  GenerateRequest other = GreedyRequest({1}, 2);
  other.model = "additive";
  sinks.push_back(engine_.Submit(other));
  engine_.Finish();
  for (const auto& sink : sinks) EXPECT_EQ(sink->status().code(), kOk);
  EXPECT_FALSE(refused->done());
  EXPECT_EQ(engine_.Run(GreedyRequest({1}, 2))->status().code(), kOk);  // there is room again
}

TEST_F(EngineLoopTest, DrainingFinishesWhatItAccepted) {
  const auto sink = engine_.Submit(GreedyRequest({1, 2}, 8));
  loop().Drain();
  EXPECT_EQ(engine_.TrySubmit(GreedyRequest({1}, 2), std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kUnavailable);
  engine_.Finish();
  EXPECT_EQ(sink->status().code(), kOk);
  EXPECT_EQ(sink->sample().tokens.size(), 8u);
}

TEST_F(EngineLoopTest, StoppingEndsEverythingOnce) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(engine_.Submit(GreedyRequest({1, 2}, 200)));
  loop().Start();
  loop().Stop();
  loop().Stop();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(sink->violation(), "");
  }
  EXPECT_EQ(engine_.TrySubmit(GreedyRequest({1}, 2), std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(loop().WaitUntilIdle(absl::ZeroDuration()));
}

TEST_F(EngineLoopTest, WaitingForIdleHasALimit) {
  const auto sink = engine_.Submit(GreedyRequest({1, 2}, 4));
  EXPECT_FALSE(loop().WaitUntilIdle(absl::ZeroDuration()));
  engine_.Finish();
  EXPECT_TRUE(loop().WaitUntilIdle(absl::ZeroDuration()));
}

// A sink may come back to the queue from within its calls.
TEST_F(EngineLoopTest, SubmitsFromTheEngineThread) {
  std::shared_ptr<RecordingSink> second;
  const auto first = engine_.Submit(GreedyRequest({1, 2}, 2), [&](int32_t, int64_t num_tokens) {
    if (num_tokens == 2) second = engine_.Submit(GreedyRequest({3, 4}, 3));
  });
  engine_.Finish();
  EXPECT_EQ(second->sample().tokens.size(), 3u);
}

TEST(EngineLoopEnd, StopsWithoutHavingStarted) {
  TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_scalar")});
  const auto sink = engine.Submit(GreedyRequest({1, 2}, 4));
  engine.loop().Stop();
  EXPECT_EQ(sink->status().code(), absl::StatusCode::kUnavailable);
}

// What could not fit even alone is refused at the door.
TEST(Fits, NamesWhatDoesNot) {
  LaneOptions lane = GoldenLane("ddl_cc");
  lane.kv_cache_tokens = 64;  // four pages
  lane.max_continuations = 3;
  TestEngine engine(MakeReferenceBackend(), {lane});
  const auto submit = [&](auto request) {
    return engine.TrySubmit(std::move(request), std::make_shared<RecordingSink>());
  };
  const auto expect_refused = [&](const absl::Status& status, const char* why) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  expect_refused(submit(GreedyRequest(std::vector<int32_t>(60, 1), 5)), "max_tokens");
  EXPECT_TRUE(submit(GreedyRequest(std::vector<int32_t>(60, 1), 4)).ok());
  expect_refused(submit(SequenceRequest(std::vector<int32_t>(65, 1))), "65 tokens");
  EXPECT_TRUE(submit(SequenceRequest(std::vector<int32_t>(64, 1))).ok());

  // 50 shared tokens keep four pages, and a fork needs a copy of the last of them.
  GenerateRequest samples = SampledRequest(std::vector<int32_t>(50, 1), 4, 1);
  samples.n = 2;
  expect_refused(submit(samples), "pages");
  samples.prompt.resize(40);
  EXPECT_TRUE(submit(samples).ok());

  ScoreRequest score = SequenceRequest(std::vector<int32_t>(50, 1));
  score.continuations = {{1, 2}};
  expect_refused(submit(score), "pages");
  score.continuations = {{1}, {2}, {3}};  // no forks
  EXPECT_TRUE(submit(score).ok());
  score.continuations.push_back({4});
  expect_refused(submit(score), "4 continuations");
  engine.Finish();
  EXPECT_TRUE(engine.everything_free());
}

TEST(Fits, ForksNeedASecondSequence) {
  LaneOptions lane = GoldenLane("ddl_cc");
  lane.max_sequences = 1;
  TestEngine engine(MakeReferenceBackend(), {lane});
  GenerateRequest samples = SampledRequest({1, 2}, 4, 1);
  samples.n = 2;
  EXPECT_EQ(engine.TrySubmit(samples, std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kInvalidArgument);
  samples.n = 1;
  EXPECT_TRUE(engine.Run(samples)->status().ok());
}

TEST(Load, ABatchHoldsATokenOfEverySequence) {
  const auto backend = MakeReferenceBackend();
  LaneOptions lane = GoldenLane("ddl_cc");
  lane.max_batch_tokens = 15;
  EXPECT_EQ(ModelLane::Load(*backend, lane).status().code(), absl::StatusCode::kInvalidArgument);
  lane.max_batch_tokens = 16;
  EXPECT_TRUE(ModelLane::Load(*backend, lane).ok());
}

}  // namespace
}  // namespace deltaserve
