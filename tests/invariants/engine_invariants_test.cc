// The same promises through the engine: forks, preemption, and the two ways to a log-probability.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/invariants/invariant_models.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

class EngineInvariants : public InvariantTest {
 protected:
  std::unique_ptr<TestEngine> MakeEngine(int64_t kv_cache_tokens, int64_t max_batch_tokens) const {
    LaneOptions lane;
    lane.name = "model";
    lane.model_dir = model_dir();
    lane.dtype = dtype();
    lane.max_sequences = 16;
    lane.kv_cache_tokens = kv_cache_tokens;
    lane.max_batch_tokens = max_batch_tokens;
    return std::make_unique<TestEngine>(MakeBackend(/*num_threads=*/1),
                                        absl::MakeConstSpan(&lane, 1));
  }
  std::unique_ptr<TestEngine> MakeRoomyEngine() const { return MakeEngine(4096, 512); }

  static GenerateRequest RandomRequest(RandomSource& random, int64_t longest_prompt) {
    GenerateRequest request =
        SampledRequest(RandomTokens(random, random.Integer(1, longest_prompt)), 12, random.Bits());
    request.logprobs = 2;
    return request;
  }
};

void ExpectSame(const RecordingSink::Sample& actual, const RecordingSink::Sample& expected) {
  EXPECT_EQ(actual.ids(), expected.ids());
  ExpectSameBits(actual.logprobs(), expected.logprobs(), "logprob");
  ASSERT_EQ(actual.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < actual.tokens.size(); ++i) {
    for (size_t k = 0; k < actual.tokens[i].top.size(); ++k) {
      EXPECT_EQ(actual.tokens[i].top[k].id, expected.tokens[i].top[k].id);
      EXPECT_EQ(actual.tokens[i].top[k].logprob, expected.tokens[i].top[k].logprob);
    }
  }
}

TEST_P(EngineInvariants, ScoreIsGenerateWithLogprobs) {
  const auto engine = MakeEngine(4096, 40);
  RandomSource random(1);
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<RecordingSink>> generated, scored;
  for (int i = 0; i < 16; ++i) {
    requests.push_back(RandomRequest(random, 100));
    generated.push_back(engine->Submit(requests.back()));
  }
  engine->Finish();
  for (int i = 0; i < 16; ++i) {
    ScoreRequest score = SequenceRequest(requests[i].prompt);
    for (const int32_t id : generated[i]->sample().ids()) score.context.push_back(id);
    scored.push_back(engine->Submit(score));
  }
  engine->Finish();
  for (int i = 0; i < 16; ++i) {
    const std::vector<float>& scores = scored[i]->score().sequence.logprobs;
    ExpectSameBits(generated[i]->sample().logprobs(), {scores.end() - 12, scores.end()}, "logprob");
  }
}

TEST_P(EngineInvariants, ForkedIsSeparate) {
  const auto engine = MakeRoomyEngine();
  RandomSource random(2);
  for (const int64_t length : {1, 16, 37}) {
    GenerateRequest samples = SampledRequest(RandomTokens(random, length), 6, random.Bits());
    samples.logprobs = 0;
    samples.n = 3;
    const auto sampled = engine->Submit(samples);
    ScoreRequest forked = SequenceRequest(samples.prompt);
    for (int i = 0; i < 5; ++i) forked.continuations.push_back(RandomTokens(random, 1 + 6 * i));
    const auto scored = engine->Run(forked);
    const auto separate = [&](const std::vector<int32_t>& continuation) {
      ScoreRequest whole = SequenceRequest(samples.prompt);
      whole.context.insert(whole.context.end(), continuation.begin(), continuation.end());
      const std::vector<float> logprobs = engine->Run(whole)->score().sequence.logprobs;
      return std::vector<float>(logprobs.end() - continuation.size(), logprobs.end());
    };
    for (int32_t i = 0; i < samples.n; ++i) {
      ExpectSameBits(sampled->sample(i).logprobs(), separate(sampled->sample(i).ids()), "sample");
    }
    for (size_t i = 0; i < forked.continuations.size(); ++i) {
      ExpectSameBits(scored->score().continuations[i].logprobs, separate(forked.continuations[i]),
                     "continuation");
    }
  }
}

TEST_P(EngineInvariants, PreemptedIsUninterrupted) {
  const auto tight = MakeEngine(96, 24);
  const auto roomy = MakeRoomyEngine();
  RandomSource random(3);
  std::vector<std::shared_ptr<RecordingSink>> interrupted, uninterrupted;
  for (int i = 0; i < 12; ++i) {
    GenerateRequest request = RandomRequest(random, 40);
    request.n = 1 + i % 2;
    interrupted.push_back(tight->Submit(request));
    uninterrupted.push_back(roomy->Submit(request));
  }
  tight->Finish();
  roomy->Finish();
  EXPECT_GT(tight->observer().num_preemptions(), 0);
  for (int i = 0; i < 12; ++i) {
    for (int32_t sample = 0; sample <= i % 2; ++sample) {
      ExpectSame(interrupted[i]->sample(sample), uninterrupted[i]->sample(sample));
    }
  }
  EXPECT_TRUE(tight->everything_free());
}

INSTANTIATE_TEST_SUITE_P(Cpu, EngineInvariants, testing::ValuesIn(AllInvariantModels()),
                         InvariantModelName);

}  // namespace
}  // namespace deltaserve
