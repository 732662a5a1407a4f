// Sample.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/kernels/op_test_suite.h"
#include "tests/kernels/sampling_case.h"

namespace deltaserve {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Not;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Rows with every knob at random, each with a few edits; shuffled over the logits.
SamplingCase RandomSampling(Random& random, int64_t vocab, int64_t num_rows) {
  SamplingCase op;
  op.vocab = vocab;
  op.logits = random.Normals(num_rows * vocab, 2);
  op.num_slots = num_rows + 1;
  op.first_row = random.Int(0, 5);
  for (int64_t m = 0; m < num_rows; ++m) {
    SamplingRow row;
    row.seed = static_cast<uint64_t>(random.Int(0, std::numeric_limits<int64_t>::max()));
    row.stream = static_cast<int32_t>(random.Int(0, 3));
    row.position = static_cast<int32_t>(random.Int(0, 4000));
    row.logits_row = static_cast<int32_t>(op.first_row + (m * 3 + 1) % num_rows);
    row.state_slot = static_cast<int32_t>(num_rows - m);
    row.temperature = random.Pick<float>({0, 0.3f, 0.7f, 1, 1.5f});
    row.top_k = static_cast<int32_t>(random.Pick<int64_t>({0, 0, 1, 3, 20, vocab + 5}));
    row.top_p = random.Pick<float>({1, 1, 0.95f, 0.5f, 0});
    row.min_p = random.Pick<float>({0, 0, 0.05f, 0.5f, 1});
    row.presence_penalty = random.Pick<float>({0, 0.7f, -0.5f});
    row.frequency_penalty = random.Pick<float>({0, 0.4f, -0.2f});
    row.repetition_penalty = random.Pick<float>({1, 1.3f, 0.8f});
    row.edits_begin = static_cast<int32_t>(op.edits.size());
    for (int64_t id = random.Int(0, 3); id < vocab; id += random.Int(1, 12)) {
      LogitEdit edit;
      edit.id = static_cast<int32_t>(id);
      edit.bias = random.Chance(0.3) ? random.Normal() : 0;
      edit.count = static_cast<int32_t>(random.Int(0, 3));
      edit.seen = edit.count > 0 || random.Chance(0.3);
      edit.banned = random.Chance(0.2);
      op.edits.push_back(edit);
    }
    row.edits_end = static_cast<int32_t>(op.edits.size());
    op.rows.push_back(row);
  }
  return op;
}

TEST_P(OpTest, Sample) {
  Random random(1);
  for (int64_t vocab : {1, 7, 80, 213, 1031}) {
    for (int64_t num_rows : {1, 2, 97}) {
      SCOPED_TRACE(absl::StrCat("V=", vocab, " rows=", num_rows));
      const SamplingCase op = RandomSampling(random, vocab, num_rows);
      TestDevice device = Device(), reference = ReferenceDevice();
      const SamplingCase::Result actual = op.Run(device), expected = op.Run(reference);
      EXPECT_EQ(actual.sampled_ids, expected.sampled_ids);
      EXPECT_EQ(actual.last_ids, expected.last_ids);
    }
  }
}

TEST_P(OpTest, SampledRowsAreIndependent) {
  Random random(2);
  const SamplingCase op = RandomSampling(random, 213, 31);
  TestDevice device = Device();
  const SamplingCase::Result together = op.Run(device);
  for (size_t m = 0; m < op.rows.size(); ++m) {
    SamplingCase alone = op;
    SamplingRow row = op.rows[m];
    const int64_t logits_row = row.logits_row - op.first_row;
    alone.logits.assign(op.logits.begin() + logits_row * op.vocab,
                        op.logits.begin() + (logits_row + 1) * op.vocab);
    alone.edits.assign(op.edits.begin() + row.edits_begin, op.edits.begin() + row.edits_end);
    alone.first_row = 0;
    row.logits_row = 0;
    row.edits_end -= row.edits_begin;
    row.edits_begin = 0;
    alone.rows = {row};
    EXPECT_THAT(alone.Run(device).sampled_ids, ElementsAre(together.sampled_ids[m])) << "row " << m;
  }
}

// `count` draws from one row of logits, at consecutive positions.
std::vector<int32_t> Draws(TestDevice device, const std::vector<float>& logits, SamplingRow row,
                           int64_t count) {
  SamplingCase op;
  op.vocab = static_cast<int64_t>(logits.size());
  op.logits = logits;
  for (int64_t n = 0; n < count; ++n) {
    row.position = static_cast<int32_t>(n);
    op.rows.push_back(row);
  }
  return op.Run(device).sampled_ids;
}

std::vector<float> Logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

// Pearson's statistic of the draws against the probabilities.
double ChiSquare(const std::vector<int32_t>& draws, const std::vector<float>& probabilities) {
  std::vector<double> observed(probabilities.size());
  for (int32_t id : draws) ++observed[id];
  double statistic = 0;
  for (size_t id = 0; id < probabilities.size(); ++id) {
    const double expected = probabilities[id] * static_cast<double>(draws.size());
    if (expected > 0) {
      statistic += (observed[id] - expected) * (observed[id] - expected) / expected;
    } else {
      EXPECT_EQ(observed[id], 0) << "id " << id;
    }
  }
  return statistic;
}

const std::vector<float> kProbabilities = {0.1f, 0.3f, 0.05f, 0.25f, 0.2f, 0.1f};

// 20.5 is the 0.1% point of chi-square with five degrees of freedom.
TEST_P(OpTest, DrawsFollowTheSoftmax) {
  for (uint64_t seed : {uint64_t{0}, uint64_t{12345}, ~uint64_t{0}}) {
    for (int32_t stream : {0, 1}) {
      const std::vector<int32_t> draws =
          Draws(Device(), Logs(kProbabilities), {.seed = seed, .stream = stream}, 4000);
      EXPECT_LT(ChiSquare(draws, kProbabilities), 20.5) << "seed " << seed << " stream " << stream;
    }
  }
}

TEST_P(OpTest, SeedsAndStreamsDrawDifferently) {
  const std::vector<float> logits(16, 0.5f);
  const std::vector<int32_t> draws = Draws(Device(), logits, {.seed = 3}, 64);
  EXPECT_EQ(Draws(Device(), logits, {.seed = 3}, 64), draws);
  EXPECT_NE(Draws(Device(), logits, {.seed = 4}, 64), draws);
  EXPECT_NE(Draws(Device(), logits, {.seed = uint64_t{3} + (uint64_t{1} << 32)}, 64), draws);
  EXPECT_NE(Draws(Device(), logits, {.seed = 3, .stream = 1}, 64), draws);
}

TEST_P(OpTest, TemperatureSharpensTheSoftmax) {
  std::vector<float> squared = kProbabilities;
  float sum = 0;
  for (float& p : squared) sum += p *= p;
  for (float& p : squared) p /= sum;
  EXPECT_LT(ChiSquare(Draws(Device(), Logs(kProbabilities), {.temperature = 0.5f}, 4000), squared),
            20.5);
}

struct Truncation {
  SamplingRow row;
  std::vector<float> expected;  // renormalised
};

TEST_P(OpTest, TruncationsLeaveWhatTheySay) {
  const std::vector<Truncation> cases = {
      {{.top_k = 3}, {0, 0.4f, 0, 0.25f / 0.75f, 0.2f / 0.75f, 0}},
      // The two ids of 0.1 tie; the lower one stays.
      {{.top_k = 4}, {0.1f / 0.85f, 0.3f / 0.85f, 0, 0.25f / 0.85f, 0.2f / 0.85f, 0}},
      // 0.3 + 0.25 < 0.6 <= 0.3 + 0.25 + 0.2
      {{.top_p = 0.6f}, {0, 0.4f, 0, 0.25f / 0.75f, 0.2f / 0.75f, 0}},
      {{.top_p = 0.54f}, {0, 0.3f / 0.55f, 0, 0.25f / 0.55f, 0, 0}},
      {{.top_p = 0}, {0, 1, 0, 0, 0, 0}},
      // After top_k the probabilities are 0.4, 0.333, 0.267: two of them reach 0.7.
      {{.top_k = 3, .top_p = 0.7f}, {0, 0.3f / 0.55f, 0, 0.25f / 0.55f, 0, 0}},
      // At least half of 0.3.
      {{.min_p = 0.5f}, {0, 0.4f, 0, 0.25f / 0.75f, 0.2f / 0.75f, 0}},
      {{.min_p = 1}, {0, 1, 0, 0, 0, 0}},
      {{.top_k = 1}, {0, 1, 0, 0, 0, 0}},
  };
  for (const Truncation& truncation : cases) {
    SCOPED_TRACE(absl::StrCat("top_k=", truncation.row.top_k, " top_p=", truncation.row.top_p,
                              " min_p=", truncation.row.min_p));
    const std::vector<int32_t> draws = Draws(Device(), Logs(kProbabilities), truncation.row, 3000);
    EXPECT_LT(ChiSquare(draws, truncation.expected), 20.5);
  }
}

TEST_P(OpTest, GreedyTakesTheLowestOfTheHighest) {
  const SamplingRow greedy = {.temperature = 0};
  EXPECT_THAT(Draws(Device(), {1, 3, 2, 3, 3}, greedy, 3), Each(1));
  EXPECT_THAT(Draws(Device(), {-5, -5, -5}, greedy, 3), Each(0));
  EXPECT_THAT(Draws(Device(), {-1e30f, -2e30f}, greedy, 1), Each(0));
  std::vector<float> late_tie(300, 0.0f);
  late_tie[299] = late_tie[140] = 7;
  EXPECT_THAT(Draws(Device(), late_tie, greedy, 3), Each(140));
}

TEST_P(OpTest, TiesOfTopKGoToTheLowestIds) {
  const std::vector<int32_t> draws = Draws(Device(), {0, 0, 0, 0, 0, 0, 0}, {.top_k = 2}, 200);
  EXPECT_THAT(draws, Each(testing::Le(1)));
  EXPECT_THAT(draws, testing::Contains(0));
  EXPECT_THAT(draws, testing::Contains(1));
}

int32_t GreedyWithEdits(TestDevice device, const std::vector<float>& logits, SamplingRow row,
                        const std::vector<LogitEdit>& edits) {
  row.temperature = 0;
  row.edits_end = static_cast<int32_t>(edits.size());
  SamplingCase op{.vocab = static_cast<int64_t>(logits.size()),
                  .logits = logits,
                  .rows = {row},
                  .edits = edits};
  return op.Run(device).sampled_ids[0];
}

TEST_P(OpTest, EditsMoveTheArgmax) {
  // 2 + 1.5 > 3
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {}, {{.id = 1, .bias = 1.5f}}), 1);
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {}, {{.id = 0, .banned = 1}}), 1);
  // 3 / 2 < 2
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.repetition_penalty = 2}, {{.id = 0, .seen = 1}}),
            1);
  // -1 * 2 < -1.5
  EXPECT_EQ(
      GreedyWithEdits(Device(), {-1, -1.5f}, {.repetition_penalty = 2}, {{.id = 0, .seen = 1}}), 1);
  // The bias comes before the repetition penalty: (3 - 4) * 2 < -1.5.
  EXPECT_EQ(GreedyWithEdits(Device(), {3, -1.5f}, {.repetition_penalty = 2},
                            {{.id = 0, .bias = -4, .seen = 1}}),
            1);
  // 3 - 0.3 * 4 < 2 < 3 - 0.3 * 3
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.frequency_penalty = 0.3f}, {{.id = 0, .count = 4}}),
            1);
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.frequency_penalty = 0.3f}, {{.id = 0, .count = 3}}),
            0);
  // Once, however often it occurred; not at all for a count of 0.
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.presence_penalty = 0.9f}, {{.id = 0, .count = 9}}),
            0);
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.presence_penalty = 1.1f}, {{.id = 0, .count = 1}}),
            1);
  EXPECT_EQ(GreedyWithEdits(Device(), {3, 2}, {.presence_penalty = 1.1f}, {{.id = 0, .count = 0}}),
            0);
}

TEST_P(OpTest, BannedIdsAreNeverDrawn) {
  SamplingCase op{.vocab = 3,
                  .logits = {9, 1, 8},
                  .rows = {},
                  .edits = {{.id = 0, .banned = 1}, {.id = 2, .bias = 50, .banned = 1}}};
  for (int32_t position = 0; position < 50; ++position) {
    op.rows.push_back({.position = position, .edits_end = 2});
    op.rows.push_back({.position = position, .top_k = 2, .edits_end = 2});
  }
  TestDevice device = Device();
  EXPECT_THAT(op.Run(device).sampled_ids, Each(1));
}

TEST_P(OpTest, RowsThatCannotBeSampledGiveMinusOne) {
  SamplingCase op{.vocab = 3,
                  .logits = {0, 1, 2, 0, kNan, 2, 0, 1, kInfinity, -kInfinity, 1, 2, 5, 4, 3},
                  .rows = {},
                  .edits = {{.id = 0, .banned = 1}, {.id = 1, .banned = 1}, {.id = 2, .banned = 1}},
                  .num_slots = 8};
  for (int32_t row = 0; row < 5; ++row) {
    op.rows.push_back({.logits_row = row, .state_slot = row + 1, .temperature = 0});
  }
  op.rows.push_back({.logits_row = 0, .state_slot = 6, .temperature = 0, .edits_end = 3});
  op.rows.push_back({.logits_row = 0, .state_slot = 7, .temperature = 1, .edits_end = 3});
  TestDevice device = Device();
  const SamplingCase::Result result = op.Run(device);
  EXPECT_THAT(result.sampled_ids, ElementsAre(2, -1, -1, -1, 0, -1, -1));
  EXPECT_THAT(result.last_ids, ElementsAre(-7, 2, -7, -7, -7, 0, -7, -7));

  for (SamplingRow& row : op.rows) row.temperature = 1;
  EXPECT_THAT(op.Run(device).sampled_ids, ElementsAre(Not(-1), -1, -1, -1, Not(-1), -1, -1));
}

}  // namespace
}  // namespace deltaserve
