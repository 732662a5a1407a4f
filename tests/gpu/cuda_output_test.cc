// Sampling and log-probabilities of vocabularies as large as real ones, and of rows that the quick
// way through the kernels cannot take.
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "tests/gpu/cuda_device.h"
#include "tests/kernels/sampling_case.h"
#include "tests/kernels/test_device.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;

constexpr float kHuge = std::numeric_limits<float>::max();

TestDevice Reference() { return {MakeReferenceBackend(), DType::kF32, DType::kF32}; }

TestDevice Cuda() { return {MakeCuda(kFast), DType::kF32, DType::kF32}; }

// Rows over logits of their own, every knob at random. Edits come in no order of ids.
SamplingCase RandomSampling(Random& random, int64_t vocab, int64_t num_rows, float scale) {
  SamplingCase op = {.vocab = vocab,
                     .logits = random.Normals(num_rows * vocab, scale),
                     .rows = {},
                     .edits = {},
                     .num_slots = num_rows};
  for (int64_t m = 0; m < num_rows; ++m) {
    SamplingRow row;
    row.seed = static_cast<uint64_t>(random.Int(0, std::numeric_limits<int64_t>::max()));
    row.position = static_cast<int32_t>(random.Int(0, 4000));
    row.logits_row = row.state_slot = static_cast<int32_t>(m);
    row.temperature = random.Pick<float>({0, 0.01f, 0.7f, 1, 1, 5});
    row.top_k = static_cast<int32_t>(random.Pick<int64_t>({0, 0, 50, 1000, 2500, vocab - 1}));
    row.top_p = random.Pick<float>({1, 0.999f, 0.95f, 0.5f, 0.01f});
    row.min_p = random.Pick<float>({0, 0, 1e-3f, 0.3f});
    row.repetition_penalty = random.Pick<float>({1, 1.3f});
    row.frequency_penalty = random.Pick<float>({0, 0.4f});
    row.edits_begin = static_cast<int32_t>(op.edits.size());
    if (random.Chance(0.5)) {
      for (int64_t id = vocab - 1; id >= 0; id -= random.Int(1, 40)) {
        op.edits.push_back({.id = static_cast<int32_t>(id),
                            .bias = 3 * random.Normal(),
                            .count = static_cast<int32_t>(random.Int(0, 3)),
                            .seen = 1,
                            .banned = random.Chance(0.1)});
      }
      std::swap(op.edits.back(), op.edits[row.edits_begin]);
    }
    row.edits_end = static_cast<int32_t>(op.edits.size());
    op.rows.push_back(row);
  }
  return op;
}

TEST(CudaSampleTest, NarrowAndFlatRowsOfManySizes) {
  Random random(1);
  TestDevice device = Cuda();
  for (int64_t vocab : {2, 17, 499, 1003, 5003}) {
    // Logits that differ by rounding alone, by what training gives, by more than a weight can show.
    for (float scale : {1e-7f, 0.1f, 3.0f, 50.0f}) {
      SCOPED_TRACE(absl::StrCat("V=", vocab, " scale=", scale));
      const SamplingCase op = RandomSampling(random, vocab, 24, scale);
      TestDevice reference = Reference();
      const SamplingCase::Result actual = op.Run(device), expected = op.Run(reference);
      EXPECT_EQ(actual.sampled_ids, expected.sampled_ids);
      EXPECT_EQ(actual.last_ids, expected.last_ids);
    }
  }
}

TEST(CudaSampleTest, AVocabularyOfARealModel) {
  Random random(2);
  TestDevice device = Cuda(), reference = Reference();
  const SamplingCase op = RandomSampling(random, 50304, 12, 2);
  EXPECT_EQ(op.Run(device).sampled_ids, op.Run(reference).sampled_ids);
}

// More ids tie than the list of candidates holds.
TEST(CudaSampleTest, TiesOfManyGoToTheLowestIds) {
  constexpr int64_t kVocab = 5003;
  SamplingCase op = {
      .vocab = kVocab, .logits = std::vector<float>(kVocab, 0.25f), .rows = {}, .edits = {}};
  op.logits[4000] = 0.5f;
  op.logits[10] = -0.0f;
  op.logits[11] = 0.0f;
  for (int32_t position = 0; position < 20; ++position) {
    op.rows.push_back({.position = position, .top_k = 4});
    op.rows.push_back({.position = position, .top_k = 3000});
    op.rows.push_back({.position = position, .top_p = 0.3f});
    op.rows.push_back({.position = position, .top_k = 3000, .top_p = 0.9f});
    op.rows.push_back({.position = position, .top_k = 4, .top_p = 0.5f});
  }
  TestDevice device = Cuda(), reference = Reference();
  EXPECT_EQ(op.Run(device).sampled_ids, op.Run(reference).sampled_ids);
}

TEST(CudaSampleTest, ZeroAndMinusZeroTie) {
  const SamplingCase op = {.vocab = 4,
                           .logits = {-1, -0.0f, 0.0f, -0.0f},
                           .rows = {{.temperature = 0}, {.top_k = 1}, {.top_p = 0}},
                           .edits = {}};
  TestDevice device = Cuda();
  EXPECT_THAT(op.Run(device).sampled_ids, ElementsAre(1, 1, 1));
}

TEST(CudaSampleTest, LogitsAtTheEndsOfTheRange) {
  SamplingCase op = {
      .vocab = 5, .logits = {-kHuge, kHuge, 0, -kHuge, kHuge}, .rows = {}, .edits = {}};
  for (float temperature : {0.0f, std::numeric_limits<float>::denorm_min(), 1e-20f, 1.0f, kHuge}) {
    for (int32_t position = 0; position < 8; ++position) {
      op.rows.push_back({.position = position, .temperature = temperature});
      op.rows.push_back({.position = position, .temperature = temperature, .top_k = 2});
      op.rows.push_back({.position = position, .temperature = temperature, .top_p = 0.8f});
    }
  }
  TestDevice device = Cuda(), reference = Reference();
  EXPECT_EQ(op.Run(device).sampled_ids, op.Run(reference).sampled_ids);
}

TEST(CudaSampleTest, TooLargeAVocabularyIsAFault) {
  TestDevice device = Cuda();
  constexpr int64_t kVocab = (1 << 20) + 1;
  device.backend().Sample({.logits = device.Zeros(DType::kF32, {1, kVocab}),
                           .num_rows = 1,
                           .rows = device.Zeros(DType::kI32, {1, 16}),
                           .edits = {},
                           .sampled_ids = device.Zeros(DType::kI32, {1}),
                           .last_ids = device.Zeros(DType::kI32, {1})});
  EXPECT_THAT(std::string(device.backend().Synchronize().message()),
              testing::HasSubstr("a vocabulary of 1048577 ids"));
}

struct Scores {
  std::vector<float> target_logprobs;
  std::vector<int32_t> target_is_greedy;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

// With the first, the middle and the last id of every row for targets.
Scores Score(TestDevice& device, int64_t vocab, const std::vector<float>& logits, int64_t top_k) {
  const int64_t num_rows = static_cast<int64_t>(logits.size()) / vocab;
  std::vector<int32_t> offsets = {0}, targets;
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t id : {int64_t{0}, vocab / 2, vocab - 1}) {
      targets.push_back(static_cast<int32_t>(id));
    }
    offsets.push_back(static_cast<int32_t>(targets.size()));
  }
  const LogProbsParams p = {.logits = device.F32({num_rows, vocab}, logits),
                            .target_offsets = device.I32({num_rows + 1}, offsets),
                            .target_ids = device.I32({3 * num_rows}, targets),
                            .sampled_ids = {},
                            .target_logprobs = device.Output(DType::kF32, {3 * num_rows}),
                            .target_is_greedy = device.Output(DType::kI32, {3 * num_rows}),
                            .top_k = top_k,
                            .top_ids = device.Output(DType::kI32, {num_rows, top_k}),
                            .top_logprobs = device.Output(DType::kF32, {num_rows, top_k})};
  device.backend().LogProbs(p);
  return {device.Floats(p.target_logprobs), device.Ints(p.target_is_greedy), device.Ints(p.top_ids),
          device.Floats(p.top_logprobs)};
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t n = 0; n < actual.size(); ++n) {
    EXPECT_NEAR(actual[n], expected[n], 1e-6f + 1e-6f * std::abs(expected[n])) << "at " << n;
  }
}

void ExpectReferenceScores(int64_t vocab, const std::vector<float>& logits, int64_t top_k) {
  TestDevice device = Cuda(), reference = Reference();
  const Scores actual = Score(device, vocab, logits, top_k);
  const Scores expected = Score(reference, vocab, logits, top_k);
  ExpectNear(actual.target_logprobs, expected.target_logprobs);
  EXPECT_EQ(actual.target_is_greedy, expected.target_is_greedy);
  EXPECT_EQ(actual.top_ids, expected.top_ids);
  ExpectNear(actual.top_logprobs, expected.top_logprobs);
}

TEST(CudaLogProbsTest, AVocabularyOfARealModel) {
  Random random(4);
  ExpectReferenceScores(50304, random.Normals(int64_t{4} * 50304, 2), 20);
}

TEST(CudaLogProbsTest, FlatRows) {
  Random random(5);
  ExpectReferenceScores(5003, random.Normals(int64_t{2} * 5003, 1e-6f), 20);
  ExpectReferenceScores(5003, std::vector<float>(5003, 0.25f), 20);
}

TEST(CudaLogProbsTest, MoreAlternativesThanIds) {
  TestDevice device = Cuda();
  const Scores scores = Score(device, 3, {0, 2, 2}, 5);
  EXPECT_THAT(scores.top_ids, ElementsAre(1, 2, 0, -1, -1));
  EXPECT_TRUE(std::isnan(scores.top_logprobs[3]));
  EXPECT_TRUE(std::isnan(scores.top_logprobs[4]));
}

// Ascending logits move the highest one with every id.
TEST(CudaLogProbsTest, ARowThatRises) {
  std::vector<float> logits(1003);
  for (size_t id = 0; id < logits.size(); ++id) logits[id] = static_cast<float>(id) - 700;
  ExpectReferenceScores(1003, logits, 7);
}

}  // namespace
}  // namespace deltaserve
