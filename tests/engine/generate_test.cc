// What the parameters of a Generate do to its tokens and its end.
#include <algorithm>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/model/tensor_specs.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_engine.h"

namespace deltaserve {
namespace {

using testing::Contains;
using testing::Each;
using testing::Not;
using testing::SizeIs;

const std::vector<int32_t> kPrompt = {17, 3, 256, 88, 4, 301, 12};

class Generate : public testing::Test {
 protected:
  std::vector<int32_t> Ids(const GenerateRequest& request) {
    return engine_.Run(request)->sample().ids();
  }
  // The index of the first `id`.
  static size_t FirstOf(const std::vector<int32_t>& ids, int32_t id) {
    return std::find(ids.begin(), ids.end(), id) - ids.begin();
  }

  TestEngine engine_{MakeReferenceBackend(), {GoldenLane("ddl_tc_ec")}};
};

TEST_F(Generate, EndsAfterMaxTokens) {
  for (const int64_t max_tokens : {1, 2, 17}) {
    const auto sink = engine_.Run(SampledRequest(kPrompt, max_tokens, 1));
    EXPECT_EQ(sink->sample().tokens.size(), static_cast<size_t>(max_tokens));
    EXPECT_EQ(sink->sample().finish, FinishReason::kLength);
  }
}

TEST_F(Generate, AStopIdEndsIt) {
  const std::vector<int32_t> free = Ids(SampledRequest(kPrompt, 24, 7));
  const int32_t stop = free[9];
  GenerateRequest request = SampledRequest(kPrompt, 24, 7);
  request.stop_token_ids = {511, stop};
  const auto sink = engine_.Run(request);
  EXPECT_EQ(sink->sample().ids(),
            std::vector<int32_t>(free.begin(), free.begin() + FirstOf(free, stop) + 1));
  EXPECT_EQ(sink->sample().finish, FinishReason::kStop);
}

TEST_F(Generate, MinTokensKeepsStopIdsOut) {
  const std::vector<int32_t> free = Ids(GreedyRequest(kPrompt, 1));
  GenerateRequest request = GreedyRequest(kPrompt, 24);
  request.stop_token_ids = {free[0]};
  EXPECT_EQ(Ids(request), free);
  request.min_tokens = 6;
  const std::vector<int32_t> ids = Ids(request);
  EXPECT_GT(ids.size(), 6u);
  EXPECT_THAT(std::vector<int32_t>(ids.begin(), ids.begin() + 6), Not(Contains(free[0])));
}

TEST_F(Generate, TheSeedDecides) {
  const std::vector<int32_t> ids = Ids(SampledRequest(kPrompt, 16, 1));
  EXPECT_EQ(Ids(SampledRequest(kPrompt, 16, 1)), ids);
  EXPECT_NE(Ids(SampledRequest(kPrompt, 16, 2)), ids);
}

TEST_F(Generate, OthersInTheBatchChangeNothing) {
  GenerateRequest request = SampledRequest(kPrompt, 16, 1);
  request.n = 4;
  const auto alone = engine_.Run(request);
  std::vector<std::shared_ptr<RecordingSink>> strangers;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    strangers.push_back(engine_.Submit(
        SampledRequest(std::vector<int32_t>(1 + 5 * seed, static_cast<int32_t>(seed)), 20, seed)));
  }
  const auto busy = engine_.Run(request);
  for (int32_t sample = 0; sample < 4; ++sample) {
    EXPECT_EQ(busy->sample(sample).ids(), alone->sample(sample).ids());
  }
  EXPECT_EQ(busy->usage().completion_tokens, 64);
}

TEST_F(Generate, SamplesEndOneByOne) {
  GenerateRequest request = SampledRequest(kPrompt, 40, 1);
  request.n = 3;
  const auto free = engine_.Run(request);
  request.stop_token_ids = {free->sample(1).ids()[4]};
  const auto sink = engine_.Run(request);
  for (int32_t sample = 0; sample < 3; ++sample) {
    const std::vector<int32_t> ids = free->sample(sample).ids();
    const size_t end = std::min(ids.size(), FirstOf(ids, request.stop_token_ids[0]) + 1);
    EXPECT_EQ(sink->sample(sample).ids(), std::vector<int32_t>(ids.begin(), ids.begin() + end));
    EXPECT_EQ(sink->sample(sample).finish,
              end < ids.size() ? FinishReason::kStop : FinishReason::kLength);
  }
  EXPECT_TRUE(engine_.everything_free());
}

TEST_F(Generate, SamplesThatEndWithTheirFirstTokenNeedNoFork) {
  GenerateRequest request = SampledRequest(kPrompt, 1, 1);
  request.n = 16;
  const auto sink = engine_.Run(request);
  for (int32_t sample = 0; sample < 16; ++sample) {
    EXPECT_THAT(sink->sample(sample).tokens, SizeIs(1));
  }
  EXPECT_EQ(engine_.observer().steps().size(), 1u);
  EXPECT_TRUE(engine_.everything_free());
}

TEST_F(Generate, LogitBiasForcesAndForbids) {
  GenerateRequest request = GreedyRequest(kPrompt, 8);
  const int32_t first = Ids(request)[0];
  request.sampling.logit_bias = {{first, -100}};
  EXPECT_THAT(Ids(request), Not(Contains(first)));
  request.sampling.logit_bias = {{42, 100}};
  EXPECT_THAT(Ids(request), Each(42));
}

TEST_F(Generate, FrequencyAddsUpAndPresenceDoesNot) {
  GenerateRequest request = GreedyRequest(kPrompt, 32);
  request.sampling.logit_bias = {{42, 30}};
  request.sampling.presence_penalty = 2;
  EXPECT_THAT(Ids(request), Each(42));
  request.sampling.presence_penalty = 0;
  request.sampling.frequency_penalty = 2;
  const std::vector<int32_t> ids = Ids(request);
  EXPECT_EQ(ids[0], 42);
  EXPECT_THAT(ids, Contains(Not(42)));
}

TEST_F(Generate, RepetitionPenaltyCountsThePrompt) {
  GenerateRequest request = GreedyRequest(kPrompt, 3);
  request.sampling.logit_bias = {{kPrompt[2], 100}, {42, 80}, {43, 60}};
  EXPECT_THAT(Ids(request), Each(kPrompt[2]));
  request.sampling.repetition_penalty = 1e6f;
  const std::vector<int32_t> ids = Ids(request);
  EXPECT_EQ(ids[0], 42);
  EXPECT_EQ(ids[1], 43);
  EXPECT_THAT(ids, Not(Contains(kPrompt[2])));
}

TEST_F(Generate, LogProbsAreOfTheRawModel) {
  GenerateRequest request = GreedyRequest(kPrompt, 4);
  request.sampling.logit_bias = {{42, 100}};
  request.logprobs = 1;
  const auto sink = engine_.Run(request);
  for (const SampledToken& token : sink->sample().tokens) {
    EXPECT_EQ(token.id, 42);
    EXPECT_LT(token.logprob, token.top[0].logprob);
  }
}

TEST_F(Generate, AFullContextIsTheEnd) {
  const int64_t context = engine_.info().max_sequence_tokens;
  const auto sink = engine_.Run(
      SampledRequest(kPrompt, context - static_cast<int64_t>(kPrompt.size()), /*seed=*/1));
  EXPECT_TRUE(sink->status().ok());
  EXPECT_EQ(sink->sample().finish, FinishReason::kLength);
}

LaneOptions Lane(const TempDir& dir) {
  LaneOptions lane;
  lane.name = "random";
  lane.model_dir = dir.path();
  lane.kv_cache_tokens = 1024;
  return lane;
}

TEST(GenerateEos, EndsIt) {
  ModelConfig config = RandomConfig(4);
  config.eos_token_id.reset();
  std::vector<int32_t> free;
  {
    const TempDir dir;
    ASSERT_TRUE(WriteRandomCheckpoint(dir.path(), config, 1).ok());
    TestEngine engine(MakeReferenceBackend(), {Lane(dir)});
    GenerateRequest request = SampledRequest({1, 2, 3}, 24, 1);
    request.ignore_eos = false;
    free = engine.Run(request)->sample().ids();
    EXPECT_THAT(free, SizeIs(24));
  }
  config.eos_token_id = free[8];
  const TempDir dir;
  ASSERT_TRUE(WriteRandomCheckpoint(dir.path(), config, 1).ok());
  TestEngine engine(MakeReferenceBackend(), {Lane(dir)});
  GenerateRequest request = SampledRequest({1, 2, 3}, 24, 1);
  request.ignore_eos = false;
  const auto ended = engine.Run(request);
  const auto end = std::find(free.begin(), free.end(), free[8]) + 1;
  EXPECT_EQ(ended->sample().ids(), std::vector<int32_t>(free.begin(), end));
  EXPECT_EQ(ended->sample().finish, FinishReason::kStop);

  request.min_tokens = 24;
  EXPECT_THAT(engine.Run(request)->sample().ids(), Not(Contains(free[8])));
  request.min_tokens = 0;
  request.ignore_eos = true;
  EXPECT_EQ(engine.Run(request)->sample().ids(), free);
}

// A model of finite weights whose sums overflow.
void WriteOverflowingCheckpoint(const TempDir& dir, ModelConfig config) {
  ASSERT_TRUE(WriteRandomCheckpoint(dir.path(), config, 1).ok());  // for its config.json
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const float value = spec.name.find("mlp.c_proj") == std::string::npos ? 0.5f : 3e38f;
    const auto fill = [value](absl::Span<float> out) { std::fill(out.begin(), out.end(), value); };
    tensors.push_back({spec.name, spec.shape, DType::kF32, fill});
  }
  ASSERT_TRUE(WriteSafetensors(dir / "model.safetensors", tensors).ok());
}

TEST(NonFinite, EndsWithAnError) {
  const TempDir dir;
  WriteOverflowingCheckpoint(dir, RandomConfig(6));
  TestEngine engine(MakeReferenceBackend(), {Lane(dir)});
  for (const int32_t n : {1, 3}) {
    GenerateRequest request = SampledRequest({1, 2, 3}, 24, 1);
    request.n = n;
    request.logprobs = 2;
    const auto sink = engine.Run(request);
    EXPECT_TRUE(sink->status().ok());
    for (int32_t sample = 0; sample < n; ++sample) {
      EXPECT_THAT(sink->sample(sample).tokens, SizeIs(0));
      EXPECT_EQ(sink->sample(sample).finish, FinishReason::kError);
    }
  }
  EXPECT_EQ(engine.Run(SequenceRequest({1, 2, 3}))->status().code(), absl::StatusCode::kInternal);
  ScoreRequest score = SequenceRequest({1, 2, 3});
  score.continuations = {{1, 2}, {3}};
  EXPECT_EQ(engine.Run(score)->status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(engine.everything_free());
}

}  // namespace
}  // namespace deltaserve
