// Score against the fixtures of the paper authors' code, for every kind of residual.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/golden_fixture.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

class ScoreGolden : public testing::TestWithParam<std::filesystem::path> {
 protected:
  void SetUp() override {
    auto fixture = LoadGoldenFixture(GetParam());
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    fixture_ = *std::move(fixture);
    LaneOptions lane = GoldenLane(GetParam().filename().string());
    lane.max_batch_tokens = 25;  // prompts are cut
    engine_ = std::make_unique<TestEngine>(MakeReferenceBackend(), absl::MakeConstSpan(&lane, 1));
  }
  void TearDown() override { EXPECT_TRUE(engine_->everything_free()); }

  TokenScores Scores(const std::vector<int32_t>& sequence) {
    ScoreRequest request = SequenceRequest(sequence);
    request.top_k = 4;
    return engine_->Run(request)->score().sequence;
  }

  GoldenFixture fixture_;
  std::unique_ptr<TestEngine> engine_;
};

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                float tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance) << "at " << i;
  }
}

TEST_P(ScoreGolden, SequencesEqualTheFixture) {
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    SCOPED_TRACE(prompt.name);
    ScoreRequest request = SequenceRequest(prompt.tokens);
    request.top_k = 3;
    const auto sink = engine_->Run(request);
    ASSERT_TRUE(sink->status().ok());
    const TokenScores& scores = sink->score().sequence;
    ASSERT_EQ(scores.logprobs.size(), prompt.token_logprobs.size());
    for (size_t i = 0; i < scores.logprobs.size(); ++i) {
      EXPECT_NEAR(scores.logprobs[i], prompt.token_logprobs[i], 1e-3);
      EXPECT_EQ(scores.is_greedy[i], prompt.tokens[i + 1] == prompt.argmax[i]);
      EXPECT_EQ(scores.top_k[i][0].id, prompt.argmax[i]);
    }
    EXPECT_EQ(sink->usage().scored_tokens, static_cast<int64_t>(prompt.tokens.size()) - 1);
  }
}

TEST_P(ScoreGolden, AlternativesComeBestFirstAndHoldTheTokenIfItIsOne) {
  const std::vector<int32_t>& tokens = fixture_.prompts.back().tokens;
  const TokenScores scores = Scores(tokens);
  for (size_t i = 0; i < scores.top_k.size(); ++i) {
    ASSERT_EQ(scores.top_k[i].size(), 4u);
    for (size_t k = 0; k < 4; ++k) {
      const Alternative& alternative = scores.top_k[i][k];
      if (k > 0) {
        EXPECT_LE(alternative.logprob, scores.top_k[i][k - 1].logprob);
      }
      if (alternative.id == tokens[i + 1]) {
        EXPECT_EQ(alternative.logprob, scores.logprobs[i]);
      }
    }
    EXPECT_EQ(scores.is_greedy[i], scores.top_k[i][0].id == tokens[i + 1]);
  }
}

TEST_P(ScoreGolden, TraceEqualsTheFixture) {
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    const GoldenTensor* beta = fixture_.Find(prompt, "beta");
    if (beta == nullptr) continue;  // additive
    SCOPED_TRACE(prompt.name);
    ScoreRequest request = SequenceRequest(prompt.tokens);
    request.trace = true;
    engine_->Submit(SampledRequest({4, 5, 6}, 8, 1));  // others do not mix in
    const auto sink = engine_->Run(request);
    const RewriteTrace& trace = sink->score().trace;
    EXPECT_EQ(trace.num_tokens, static_cast<int64_t>(prompt.tokens.size()));
    EXPECT_EQ(trace.num_layers, engine_->info().num_layers);
    ExpectNear(trace.beta, beta->values, 1e-4f);
    ExpectNear(trace.proj, fixture_.Find(prompt, "proj")->values, 1e-4f);
    ExpectNear(trace.v, fixture_.Find(prompt, "v")->values, 1e-4f);
  }
}

TEST_P(ScoreGolden, ContinuationsAreScoredAsWholeSequencesAre) {
  const std::vector<int32_t>& tokens = fixture_.prompts.back().tokens;
  for (const size_t context : {1, 2, 16, 37}) {
    SCOPED_TRACE(context);
    ScoreRequest request = SequenceRequest({tokens.begin(), tokens.begin() + context});
    request.top_k = 4;
    request.continuations = {
        {tokens.begin() + context, tokens.end()},
        {tokens[context]},
        {7},
        {9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
        {tokens.begin() + context, tokens.begin() + context + 2},
    };
    const auto sink = engine_->Run(request);
    ASSERT_TRUE(sink->status().ok());
    ASSERT_EQ(sink->score().continuations.size(), request.continuations.size());
    for (size_t i = 0; i < request.continuations.size(); ++i) {
      SCOPED_TRACE(i);
      std::vector<int32_t> whole = request.context;
      whole.insert(whole.end(), request.continuations[i].begin(), request.continuations[i].end());
      const TokenScores expected = Scores(whole);
      const TokenScores& actual = sink->score().continuations[i];
      ASSERT_EQ(actual.logprobs.size(), request.continuations[i].size());
      for (size_t t = 0; t < actual.logprobs.size(); ++t) {
        EXPECT_EQ(actual.logprobs[t], expected.logprobs[context - 1 + t]);
        EXPECT_EQ(actual.is_greedy[t], expected.is_greedy[context - 1 + t]);
        for (size_t k = 0; k < 4; ++k) {
          EXPECT_EQ(actual.top_k[t][k].id, expected.top_k[context - 1 + t][k].id);
          EXPECT_EQ(actual.top_k[t][k].logprob, expected.top_k[context - 1 + t][k].logprob);
        }
      }
    }
  }
}

std::string TestName(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ScoreGolden, testing::ValuesIn(GoldenFixtureDirs()), TestName);

}  // namespace
}  // namespace deltaserve
