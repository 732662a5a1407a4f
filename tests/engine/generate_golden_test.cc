// Generate against the fixtures of the paper authors' code, for every kind of residual.
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

class GenerateGolden : public testing::TestWithParam<std::filesystem::path> {
 protected:
  void SetUp() override {
    auto fixture = LoadGoldenFixture(GetParam());
    ASSERT_TRUE(fixture.ok()) << fixture.status();
    fixture_ = *std::move(fixture);
  }
  TestEngine MakeEngine(int64_t max_batch_tokens = 64) const {
    LaneOptions lane = GoldenLane(GetParam().filename().string());
    lane.max_batch_tokens = max_batch_tokens;
    return TestEngine(MakeReferenceBackend(), {lane});
  }
  const std::vector<int32_t>& LongPrompt() const { return fixture_.prompts.back().tokens; }

  GoldenFixture fixture_;
};

TEST_P(GenerateGolden, GreedyEqualsTheFixture) {
  TestEngine engine = MakeEngine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const GoldenPrompt& prompt : fixture_.prompts) {
    sinks.push_back(engine.Submit(GreedyRequest(prompt.tokens, prompt.greedy.size())));
  }
  engine.Finish();
  for (size_t i = 0; i < sinks.size(); ++i) {
    SCOPED_TRACE(fixture_.prompts[i].name);
    EXPECT_EQ(sinks[i]->sample().ids(), fixture_.prompts[i].greedy);
    EXPECT_EQ(sinks[i]->sample().finish, FinishReason::kLength);
    EXPECT_EQ(sinks[i]->violation(), "");
    const Usage usage = sinks[i]->usage();
    EXPECT_EQ(usage.prompt_tokens, static_cast<int64_t>(fixture_.prompts[i].tokens.size()));
    EXPECT_EQ(usage.completion_tokens, static_cast<int64_t>(fixture_.prompts[i].greedy.size()));
  }
  EXPECT_TRUE(engine.everything_free());
}

// In other chunks, and with others in the batch: the same bits.
TEST_P(GenerateGolden, LogProbsAreThoseOfScore) {
  TestEngine engine = MakeEngine(/*max_batch_tokens=*/16);
  GenerateRequest generate = SampledRequest(LongPrompt(), 20, /*seed=*/11);
  generate.logprobs = 3;
  const auto generated = engine.Submit(generate);
  engine.Submit(SampledRequest({1, 2, 3}, 30, 5));
  engine.Finish();

  ScoreRequest score = SequenceRequest(LongPrompt());
  for (const int32_t id : generated->sample().ids()) score.context.push_back(id);
  score.top_k = 5;
  const auto scored = engine.Run(score);
  const TokenScores& scores = scored->score().sequence;
  const std::vector<SampledToken> tokens = generated->sample().tokens;
  ASSERT_EQ(tokens.size(), 20u);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t at = LongPrompt().size() - 1 + i;
    EXPECT_EQ(tokens[i].logprob, scores.logprobs[at]);
    ASSERT_EQ(tokens[i].top.size(), 3u);
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(tokens[i].top[k].id, scores.top_k[at][k].id);
      EXPECT_EQ(tokens[i].top[k].logprob, scores.top_k[at][k].logprob);
    }
    EXPECT_EQ(scores.is_greedy[at], tokens[i].id == tokens[i].top[0].id);
  }
}

// Every sample of n is what its tokens would be scored on their own: the fork changed nothing.
TEST_P(GenerateGolden, SamplesOfOnePromptAreThoseOfSeparateSequences) {
  TestEngine engine = MakeEngine(/*max_batch_tokens=*/24);
  GenerateRequest request = SampledRequest(LongPrompt(), 10, /*seed=*/3);
  request.prompt.resize(37);  // not at the end of a page
  request.logprobs = 0;
  request.n = 4;
  const auto together = engine.Run(request);
  for (int32_t sample = 0; sample < request.n; ++sample) {
    ScoreRequest score = SequenceRequest(request.prompt);
    for (const int32_t id : together->sample(sample).ids()) score.context.push_back(id);
    const std::vector<float> logprobs = engine.Run(score)->score().sequence.logprobs;
    EXPECT_EQ(together->sample(sample).logprobs(),
              std::vector<float>(logprobs.begin() + request.prompt.size() - 1, logprobs.end()));
  }
  // The first sample of n draws as that of n = 1 does.
  request.n = 1;
  EXPECT_EQ(engine.Run(request)->sample().ids(), together->sample(0).ids());
  EXPECT_NE(together->sample(0).ids(), together->sample(1).ids());
  EXPECT_TRUE(engine.everything_free());
}

std::string TestName(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GenerateGolden, testing::ValuesIn(GoldenFixtureDirs()),
                         TestName);

}  // namespace
}  // namespace deltaserve
