// However a sequence is cut, and whoever shares its steps: its logits and gates are the same bits.
#include <algorithm>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/invariants/invariant_models.h"
#include "tests/support/model_harness.h"

namespace deltaserve {
namespace {

class ModelInvariants : public InvariantTest {
 protected:
  void SetUp() override {
    InvariantTest::SetUp();
    auto harness =
        ModelHarness::Load(MakeBackend(/*num_threads=*/2), model_dir(), dtype(), kContext);
    ASSERT_TRUE(harness.ok()) << harness.status();
    harness_ = *std::move(harness);
  }

  std::unique_ptr<ModelHarness> harness_;
};

void ExpectSame(const ChunkOutputs& actual, const ChunkOutputs& expected) {
  ExpectSameBits(actual.logits, expected.logits, "logit");
  ExpectSameBits(actual.beta, expected.beta, "beta");
  ExpectSameBits(actual.proj, expected.proj, "proj");
  ExpectSameBits(actual.v, expected.v, "v");
}

// Often one token, sometimes many.
int64_t RandomCount(RandomSource& random, int64_t left) {
  return std::min(left, random.Integer(1, random.Pick<int64_t>({1, 1, 3, 8, 20, 60})));
}

TEST_P(ModelInvariants, AnyChunkingIsTheFullForward) {
  RandomSource random(1);
  for (const int64_t length : {1, 2, 3, 5, 40, 101}) {
    SCOPED_TRACE(length);
    const std::vector<int32_t> tokens = RandomTokens(random, length);
    const ChunkOutputs full = harness_->Forward(tokens);
    const std::vector<int64_t> ones(length, 1);
    ExpectSame(harness_->Forward(tokens, ones, /*sequence=*/1), full);
    for (int64_t sequence = 2; sequence < 6; ++sequence) {
      std::vector<int64_t> chunks;
      for (int64_t left = length; left > 0; left -= chunks.back()) {
        chunks.push_back(RandomCount(random, left));
      }
      ExpectSame(harness_->Forward(tokens, chunks, sequence), full);
      if (HasFailure()) return;
    }
  }
}

TEST_P(ModelInvariants, AloneIsAsAmongStrangers) {
  constexpr int64_t kSequences = 17;
  RandomSource random(2);
  const int64_t sites = 2 * harness_->decoder().config().num_hidden_layers;
  std::vector<std::vector<int32_t>> tokens;
  for (int64_t s = 0; s < kSequences; ++s) {
    tokens.push_back(RandomTokens(random, random.Integer(1, random.Pick<int64_t>({5, 60, 120}))));
  }
  // Some are in their prompt, some take a token at a time, some sit a step out.
  std::vector<ChunkOutputs> together(kSequences);
  while (true) {
    std::vector<ModelHarness::Chunk> chunks;
    bool left_over = false;
    for (int64_t s = 0; s < kSequences; ++s) {
      const int64_t first = together[s].num_tokens;
      const int64_t left = static_cast<int64_t>(tokens[s].size()) - first;
      left_over |= left > 0;
      if (left > 0 && random.Chance(0.9f)) {
        chunks.push_back({s, tokens[s], first, RandomCount(random, left)});
      }
    }
    if (!left_over) break;
    if (chunks.empty()) continue;
    const std::vector<ChunkOutputs> outputs = harness_->Step(chunks);
    for (size_t i = 0; i < chunks.size(); ++i) {
      Append(together[chunks[i].sequence], outputs[i], sites);
    }
  }
  for (int64_t s = 0; s < kSequences; ++s) {
    SCOPED_TRACE(s);
    ExpectSame(together[s], harness_->Forward(tokens[s], /*sequence=*/18));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, ModelInvariants, testing::ValuesIn(AllInvariantModels()),
                         InvariantModelName);

}  // namespace
}  // namespace deltaserve
