// What the engine tells its observer of a step: what each sequence had the device do.
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

using testing::ElementsAre;
using Step = RecordingStepObserver::Step;

std::vector<int32_t> Tokens(int64_t count) {
  std::vector<int32_t> tokens(count);
  for (int64_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>(i % 100);
  return tokens;
}

// The last fields of a SequenceWork: phase, tokens, kv_len, logit rows.
testing::Matcher<SequenceWork> Work(RequestId request, Phase phase, int64_t tokens, int64_t kv_len,
                                    int64_t logit_rows) {
  return testing::AllOf(
      testing::Field(&SequenceWork::request, request), testing::Field(&SequenceWork::phase, phase),
      testing::Field(&SequenceWork::tokens, tokens), testing::Field(&SequenceWork::kv_len, kv_len),
      testing::Field(&SequenceWork::logit_rows, logit_rows));
}

TEST(StepReport, ChunkedPromptThenDecoding) {
  LaneOptions lane = GoldenLane("ddl_cc");
  lane.max_batch_tokens = 16;
  TestEngine engine(MakeReferenceBackend(), {lane});
  GenerateRequest request = GreedyRequest(Tokens(33), 3);
  request.id = 7;
  engine.Run(request);
  const std::vector<Step> steps = engine.observer().steps();
  ASSERT_EQ(steps.size(), 5u);
  // The last token of the prompt comes alone, and is the prompt's all the same.
  EXPECT_THAT(steps[0].work, ElementsAre(Work(7, Phase::kPrefill, 16, 16, 0)));
  EXPECT_THAT(steps[1].work, ElementsAre(Work(7, Phase::kPrefill, 16, 32, 0)));
  EXPECT_THAT(steps[2].work, ElementsAre(Work(7, Phase::kPrefill, 1, 33, 1)));
  EXPECT_THAT(steps[3].work, ElementsAre(Work(7, Phase::kDecode, 1, 34, 1)));
  EXPECT_THAT(steps[4].work, ElementsAre(Work(7, Phase::kDecode, 1, 35, 1)));
  EXPECT_EQ(steps[2].stats.prefill_tokens, 1);
  EXPECT_EQ(steps[3].stats.decode_tokens, 1);
}

TEST(StepReport, SamplesAreDecodedAsForks) {
  TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_cc")});
  GenerateRequest request = SampledRequest(Tokens(5), 2, 1);
  request.id = 7;
  request.n = 2;
  engine.Run(request);
  const std::vector<Step> steps = engine.observer().steps();
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_THAT(steps[0].work, ElementsAre(Work(7, Phase::kPrefill, 5, 5, 1)));
  EXPECT_THAT(steps[1].work,
              ElementsAre(Work(7, Phase::kDecode, 1, 6, 1), Work(7, Phase::kDecode, 1, 6, 1)));
  EXPECT_NE(steps[1].work[0].sequence, steps[1].work[1].sequence);
}

TEST(StepReport, EveryTokenOfAScoreIsScored) {
  TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_cc")});
  ScoreRequest request = SequenceRequest(Tokens(9));
  request.id = 7;
  engine.Run(request);
  ScoreRequest continuations = SequenceRequest(Tokens(9));
  continuations.id = 8;
  continuations.continuations = {{1, 2}, {3}};
  engine.Run(continuations);
  const std::vector<Step> steps = engine.observer().steps();
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_THAT(steps[0].work, ElementsAre(Work(7, Phase::kScore, 9, 9, 8)));
  EXPECT_THAT(steps[1].work, ElementsAre(Work(8, Phase::kScore, 9, 9, 1)));
  EXPECT_THAT(steps[2].work, ElementsAre(Work(8, Phase::kScore, 1, 10, 1)));
  EXPECT_EQ(steps[2].stats.prefill_tokens, 1);
}

TEST(StepReport, WhatAPreemptionComputesAnewIsPrefill) {
  LaneOptions lane = GoldenLane("ddl_cc");
  lane.kv_cache_tokens = 64;
  TestEngine engine(MakeReferenceBackend(), {lane});
  for (RequestId id : {1, 2}) {
    GenerateRequest request = GreedyRequest(Tokens(20), 25);
    request.id = id;
    engine.Submit(request);
  }
  engine.Finish();
  ASSERT_GT(engine.observer().num_preemptions(), 0);
  int64_t anew = 0;
  for (const Step& step : engine.observer().steps()) {
    int64_t decoded = 0;
    for (const SequenceWork& work : step.work) {
      if (work.phase == Phase::kPrefill && work.kv_len > 20) anew += work.tokens;
      if (work.phase == Phase::kDecode) decoded += work.tokens;
    }
    EXPECT_EQ(step.stats.decode_tokens, decoded);
  }
  EXPECT_GT(anew, 20);
}

TEST(StepReport, AFailedStepIsReportedWithItsWork) {
  auto owned = std::make_unique<FailingBackend>();
  FailingBackend& backend = *owned;
  TestEngine engine(std::move(owned), {GoldenLane("ddl_cc")});
  GenerateRequest request = GreedyRequest(Tokens(4), 9);
  request.id = 7;
  const auto sink = engine.Submit(request, [&](int32_t, int64_t num_tokens) {
    if (num_tokens == 2) backend.FailAfter(0);
  });
  engine.Finish();
  EXPECT_EQ(sink->status().code(), absl::StatusCode::kUnavailable);
  const std::vector<Step> steps = engine.observer().steps();
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_FALSE(steps[1].stats.failed);
  EXPECT_TRUE(steps[2].stats.failed);
  EXPECT_THAT(steps[2].work, ElementsAre(Work(7, Phase::kDecode, 1, 6, 1)));
  EXPECT_EQ(engine.observer().begun().size(), 3u);
}

TEST(StepReport, GatesComeWhereTheyAreWantedAndThereAreSome) {
  for (const bool wanted : {false, true}) {
    SCOPED_TRACE(wanted);
    TestEngine engine(MakeReferenceBackend(), {GoldenLane("ddl_cc"), GoldenLane("additive")});
    engine.observer().set_wants_gates(wanted);
    engine.Submit(GreedyRequest(Tokens(6), 1));
    GenerateRequest additive = GreedyRequest(Tokens(6), 1);
    additive.model = "additive";
    engine.Submit(additive);
    engine.Finish();
    for (const Step& step : engine.observer().steps()) {
      const int64_t gates = wanted && step.model == "ddl_cc" ? engine.info().num_layers * 2 * 6 : 0;
      EXPECT_EQ(static_cast<int64_t>(step.beta.size()), gates);
      for (const float beta : step.beta) EXPECT_TRUE(beta > 0 && beta < 2) << beta;
    }
  }
}

}  // namespace
}  // namespace deltaserve
