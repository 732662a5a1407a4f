// LogProbs.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

struct LogProbsCase {
  int64_t vocab = 0;
  std::vector<float> logits;
  std::vector<int32_t> offsets;  // may begin past 0
  std::vector<int32_t> targets;
  std::vector<int32_t> sampled_ids;
  int64_t top_k = 0;

  struct Result {
    std::vector<float> target_logprobs;
    std::vector<int32_t> target_is_greedy;
    std::vector<int32_t> top_ids;
    std::vector<float> top_logprobs;
  };

  int64_t num_rows() const { return static_cast<int64_t>(logits.size()) / vocab; }

  Result Run(TestDevice& device) const {
    const int64_t num_targets = static_cast<int64_t>(targets.size());
    LogProbsParams p = {
        .logits = device.F32({num_rows(), vocab}, logits),
        .target_offsets = device.I32({num_rows() + 1}, offsets),
        .target_ids = device.I32({num_targets}, targets),
        .sampled_ids = {},
        .target_logprobs = device.Output(DType::kF32, {num_targets}),
        .target_is_greedy = device.Output(DType::kI32, {num_targets}),
        .top_k = top_k,
        .top_ids = {},
        .top_logprobs = {},
    };
    if (!sampled_ids.empty()) {
      p.sampled_ids = device.I32({static_cast<int64_t>(sampled_ids.size())}, sampled_ids);
    }
    if (top_k > 0) {
      p.top_ids = device.Output(DType::kI32, {num_rows(), top_k});
      p.top_logprobs = device.Output(DType::kF32, {num_rows(), top_k});
    }
    device.backend().LogProbs(p);
    Result result = {device.Floats(p.target_logprobs), device.Ints(p.target_is_greedy), {}, {}};
    if (top_k > 0) {
      result.top_ids = device.Ints(p.top_ids);
      result.top_logprobs = device.Floats(p.top_logprobs);
    }
    return result;
  }
};

LogProbsCase RandomLogProbs(Random& random, int64_t vocab, int64_t num_rows, int64_t top_k) {
  LogProbsCase op;
  op.vocab = vocab;
  op.logits = random.Normals(num_rows * vocab, 3);
  op.top_k = top_k;
  for (int m = 0; m < 4; ++m)
    op.sampled_ids.push_back(static_cast<int32_t>(random.Int(0, vocab - 1)));
  op.offsets = {static_cast<int32_t>(random.Int(0, 9))};
  for (int64_t r = 0; r < num_rows; ++r) {
    const int64_t count = random.Int(0, 3);
    for (int64_t n = 0; n < count; ++n) {
      op.targets.push_back(static_cast<int32_t>(random.Int(-4, vocab - 1)));
    }
    op.offsets.push_back(op.offsets.back() + static_cast<int32_t>(count));
  }
  return op;
}

TokenRows AsRows(const std::vector<float>& values) {
  TokenRows rows({static_cast<int64_t>(values.size())}, 1);
  rows.sequences()[0] = values;
  return rows;
}

TEST_P(OpTest, LogProbs) {
  Random random(3);
  for (int64_t vocab : {7, 80, 213, 1031}) {
    for (int64_t top_k : {0, 1, 5}) {
      SCOPED_TRACE(absl::StrCat("V=", vocab, " top_k=", top_k));
      const LogProbsCase op = RandomLogProbs(random, vocab, 23, top_k);
      TestDevice device = Device(), reference = ReferenceDevice();
      const LogProbsCase::Result actual = op.Run(device), expected = op.Run(reference);
      ExpectNear(AsRows(actual.target_logprobs), AsRows(expected.target_logprobs), {1e-5f, 1e-6f},
                 "target_logprobs");
      EXPECT_EQ(actual.target_is_greedy, expected.target_is_greedy);
      EXPECT_EQ(actual.top_ids, expected.top_ids);
      ExpectNear(AsRows(actual.top_logprobs), AsRows(expected.top_logprobs), {1e-5f, 1e-6f},
                 "top_logprobs");
    }
  }
}

TEST_P(OpTest, LogProbsOfARowAreIndependent) {
  Random random(4);
  LogProbsCase op = RandomLogProbs(random, 213, 17, 3);
  op.offsets[0] = 0;
  op.targets.assign(17, 0);
  for (int32_t r = 0; r < 17; ++r) {
    op.targets[r] = static_cast<int32_t>(random.Int(0, 212));
    op.offsets[r + 1] = r + 1;
  }
  TestDevice device = Device();
  const LogProbsCase::Result together = op.Run(device);
  for (int64_t r = 0; r < op.num_rows(); ++r) {
    LogProbsCase alone = op;
    alone.logits.assign(op.logits.begin() + r * 213, op.logits.begin() + (r + 1) * 213);
    alone.offsets = {0, 1};
    alone.targets = {op.targets[r]};
    const LogProbsCase::Result result = alone.Run(device);
    EXPECT_THAT(result.target_logprobs, ElementsAre(together.target_logprobs[r]));
    EXPECT_THAT(result.top_logprobs,
                testing::ElementsAreArray(together.top_logprobs.data() + r * 3, 3));
  }
}

TEST_P(OpTest, LogProbsByHand) {
  LogProbsCase op{.vocab = 4,
                  .logits = Logs({0.1f, 0.4f, 0.4f, 0.1f, 0.7f, 0.1f, 0.1f, 0.1f}),
                  .offsets = {5, 8, 9},
                  .targets = {0, -2, 2, -1},
                  .sampled_ids = {0, 1},
                  .top_k = 3};
  for (int64_t id = 4; id < 8; ++id) op.logits[id] += 100;  // a shift changes no probability
  TestDevice device = Device();
  const LogProbsCase::Result result = op.Run(device);
  const std::vector<float> expected = Logs({0.1f, 0.4f, 0.4f, 0.7f});
  for (int n = 0; n < 4; ++n) EXPECT_NEAR(result.target_logprobs[n], expected[n], 1e-4f);
  EXPECT_THAT(result.target_is_greedy, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(result.top_ids, ElementsAre(1, 2, 0, 0, 1, 2));
}

TEST_P(OpTest, LogProbsOfRowsThatAreNotFinite) {
  const LogProbsCase op{.vocab = 3,
                        .logits = {0, kNan, 1, 0, 1, kInfinity, 0, 1, -kInfinity, 1, 2, 3},
                        .offsets = {0, 1, 2, 3, 4},
                        .targets = {0, 2, 1, 2},
                        .sampled_ids = {},
                        .top_k = 2};
  TestDevice device = Device();
  const LogProbsCase::Result result = op.Run(device);
  for (int row = 0; row < 3; ++row) {
    EXPECT_TRUE(std::isnan(result.target_logprobs[row])) << "row " << row;
    EXPECT_EQ(result.target_is_greedy[row], 0) << "row " << row;
    EXPECT_TRUE(std::isnan(result.top_logprobs[2 * row])) << "row " << row;
  }
  EXPECT_NEAR(result.target_logprobs[3], -0.40760596f, 1e-5f);
  EXPECT_EQ(result.target_is_greedy[3], 1);
}

// A sampled id can be -1, where every id was banned.
TEST_P(OpTest, LogProbOfNoIdIsNan) {
  const LogProbsCase op{.vocab = 2,
                        .logits = {0, 1},
                        .offsets = {0, 1},
                        .targets = {-1},
                        .sampled_ids = {-1},
                        .top_k = 0};
  TestDevice device = Device();
  const LogProbsCase::Result result = op.Run(device);
  EXPECT_TRUE(std::isnan(result.target_logprobs[0]));
  EXPECT_EQ(result.target_is_greedy[0], 0);
}

}  // namespace
}  // namespace deltaserve
