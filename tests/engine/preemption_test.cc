// A cache too small for what runs: the youngest give way, and nobody's numbers change.
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

class Preemption : public testing::TestWithParam<const char*> {
 protected:
  static LaneOptions Lane(int64_t kv_cache_tokens) {
    LaneOptions lane = GoldenLane(GetParam());
    lane.max_batch_tokens = 32;
    lane.kv_cache_tokens = kv_cache_tokens;
    return lane;
  }
  static GenerateRequest Request(uint64_t seed, int32_t n) {
    std::vector<int32_t> prompt;
    for (uint64_t i = 0; i <= 7 * seed % 40; ++i) prompt.push_back((31 * i + seed) % 499);
    GenerateRequest request = SampledRequest(std::move(prompt), 30, seed);
    request.n = n;
    request.logprobs = 2;
    return request;
  }

  TestEngine roomy_{MakeReferenceBackend(), {Lane(4096)}};
  TestEngine tight_{MakeReferenceBackend(), {Lane(112)}};  // seven pages
};

TEST_P(Preemption, ChangesNoToken) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    sinks.push_back(tight_.Submit(Request(seed, 1 + seed % 3)));
  }
  tight_.Finish();
  EXPECT_GT(tight_.observer().num_preemptions(), 0);
  EXPECT_TRUE(tight_.everything_free());
  for (uint64_t seed = 0; seed < 16; ++seed) {
    SCOPED_TRACE(seed);
    const GenerateRequest request = Request(seed, 1 + seed % 3);
    const auto expected = roomy_.Run(request);
    EXPECT_TRUE(sinks[seed]->status().ok());
    EXPECT_EQ(sinks[seed]->violation(), "");
    for (int32_t sample = 0; sample < request.n; ++sample) {
      EXPECT_EQ(sinks[seed]->sample(sample).ids(), expected->sample(sample).ids());
      EXPECT_EQ(sinks[seed]->sample(sample).logprobs(), expected->sample(sample).logprobs());
    }
  }
  EXPECT_EQ(roomy_.observer().num_preemptions(), 0);
}

TEST_P(Preemption, ManyContinuationsPassThroughATinyCache) {
  ScoreRequest score = SequenceRequest({});
  for (int32_t i = 0; i < 37; ++i) score.context.push_back(13 * i % 499);
  for (int32_t i = 0; i < 60; ++i) {
    score.continuations.emplace_back();
    for (int32_t t = 0; t <= i % 23; ++t) score.continuations.back().push_back((17 * i + t) % 499);
  }
  score.top_k = 2;
  const auto expected = roomy_.Run(score);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 2; ++i) sinks.push_back(tight_.Submit(score));
  for (uint64_t seed = 0; seed < 4; ++seed) tight_.Submit(Request(seed, 1));
  tight_.Finish();
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->status().ok());
    for (size_t i = 0; i < score.continuations.size(); ++i) {
      EXPECT_EQ(sink->score().continuations[i].logprobs,
                expected->score().continuations[i].logprobs);
      EXPECT_EQ(sink->score().continuations[i].top_k.size(), score.continuations[i].size());
    }
    EXPECT_EQ(sink->usage().scored_tokens, expected->usage().scored_tokens);
  }
  EXPECT_TRUE(tight_.everything_free());
}

TEST_P(Preemption, ScoresAndTracesArePartOfIt) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (uint64_t seed = 0; seed < 8; ++seed) tight_.Submit(Request(seed, 1));
  ScoreRequest score = SequenceRequest({});
  for (int32_t i = 0; i < 90; ++i) score.context.push_back(13 * i % 499);
  score.trace = tight_.info().residual != "additive";
  for (int i = 0; i < 3; ++i) sinks.push_back(tight_.Submit(score));
  tight_.Finish();
  const auto expected = roomy_.Run(score);
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->score().sequence.logprobs, expected->score().sequence.logprobs);
    EXPECT_EQ(sink->score().trace.beta, expected->score().trace.beta);
    EXPECT_EQ(sink->score().trace.proj, expected->score().trace.proj);
    EXPECT_EQ(sink->score().trace.v, expected->score().trace.v);
  }
  EXPECT_TRUE(tight_.everything_free());
}

// The prompt is held for a sample that still waits, in four pages of seven: a preempted sample has
// no room for a prompt of its own.
TEST_P(Preemption, ASampleComesBackToThePromptItShares) {
  GenerateRequest older = Request(0, 1);
  older.max_tokens = 40;
  GenerateRequest samples = Request(1, 3);
  for (int32_t i = samples.prompt.size(); i < 49; ++i) samples.prompt.push_back(i);
  const auto first = tight_.Submit(older);
  const auto second = tight_.Submit(samples);
  tight_.Finish();
  EXPECT_GT(tight_.observer().num_preemptions(), 1);
  EXPECT_EQ(first->sample().ids(), roomy_.Run(older)->sample().ids());
  const auto expected = roomy_.Run(samples);
  ASSERT_TRUE(second->done());
  for (int32_t sample = 0; sample < 3; ++sample) {
    EXPECT_EQ(second->sample(sample).ids(), expected->sample(sample).ids());
    EXPECT_EQ(second->sample(sample).logprobs(), expected->sample(sample).logprobs());
  }
  EXPECT_TRUE(tight_.everything_free());
}

// Two slots: a prompt and one of its samples at a time.
TEST_P(Preemption, SlotsRunOutToo) {
  LaneOptions lane = Lane(4096);
  lane.max_sequences = 2;
  TestEngine narrow(MakeReferenceBackend(), {lane});
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (uint64_t seed = 0; seed < 5; ++seed) sinks.push_back(narrow.Submit(Request(seed, 3)));
  narrow.Finish();
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const auto expected = roomy_.Run(Request(seed, 3));
    for (int32_t sample = 0; sample < 3; ++sample) {
      EXPECT_EQ(sinks[seed]->sample(sample).ids(), expected->sample(sample).ids());
    }
  }
  EXPECT_TRUE(narrow.everything_free());
}

INSTANTIATE_TEST_SUITE_P(Kinds, Preemption,
                         testing::Values("additive", "ddl_scalar", "ddl_tc", "ddl_tc_ec", "ddl_cc",
                                         "ddl_cc_ec"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace deltaserve
