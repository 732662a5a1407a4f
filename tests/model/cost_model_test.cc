// Bytes and FLOPs, worked out by hand.
#include "server/model/cost_model.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "server/model/calibration.h"
#include "server/model/config.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;

ModelConfig Additive() {
  ModelConfig config;
  config.vocab_size = 10;
  config.hidden_size = 4;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.head_dim = 3;
  config.intermediate_size = 8;
  return config;
}

SequenceWork Work(int64_t tokens, int64_t kv_len, int64_t logit_rows) {
  SequenceWork work;
  work.tokens = tokens;
  work.kv_len = kv_len;
  work.logit_rows = logit_rows;
  return work;
}

TEST(CostModelTest, AnAdditiveModel) {
  const ModelCosts costs = CostsOf(Additive(), DType::kF32);
  // A layer: norms 4 + 4, q, k, v 3·24, q and k norms 3 + 3, out 24, fc1, fc2 and c_proj 3·32.
  const int64_t layer = 4 + 4 + 72 + 6 + 24 + 96;
  EXPECT_EQ(costs.block_weight_bytes, 4 * (2 * layer + 4));
  EXPECT_EQ(costs.head_weight_bytes, 4 * 40);
  EXPECT_EQ(costs.kv_bytes_per_position, 2 * 2 * 6 * 4);
  EXPECT_EQ(costs.state_bytes_per_token, 5 * 2 * 4 * 4);
  EXPECT_EQ(costs.tail_bytes_per_sequence, 0);
  EXPECT_EQ(costs.flops_per_token, 2 * 2 * (4 * 24 + 96));
  EXPECT_EQ(costs.flops_per_attended, 2 * 2 * (6 + 6));
  EXPECT_EQ(costs.flops_per_logit_row, 2 * 40);
}

TEST(CostModelTest, ATokenAxisModel) {
  ModelConfig config;
  config.kind = ResidualKind::kDdlTc;
  config.vocab_size = 10;
  config.hidden_size = 4;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 1;
  config.head_dim = 4;
  config.use_qk_rmsnorm = false;
  config.ddl_value_channels = 2;
  config.ddl_state_shortconv_kernel_size = 3;
  ASSERT_EQ(config.MlpWidth(), 10);
  const ModelCosts costs = CostsOf(config, DType::kBF16);
  const int64_t compressor = 2 * 4 * 3 + 2;
  const int64_t delta = 2 * 4 + 2 + 4 + 1;  // v and its bias, beta and its
  const int64_t layer = compressor + 4 + 4 + 4 * 16 + 3 * 40 + 2 * delta;
  EXPECT_EQ(costs.block_weight_bytes, 2 * (layer + compressor + 4));
  EXPECT_EQ(costs.head_weight_bytes, 2 * 40);
  EXPECT_EQ(costs.kv_bytes_per_position, 2 * 4 * 2);
  EXPECT_EQ(costs.state_bytes_per_token, 3 * 2 * (2 * 4) * 4);
  EXPECT_EQ(costs.tail_bytes_per_sequence, 3 * 2 * 2 * 4 * 4);
  const int64_t gates = 2 * (4 + 8);
  const int64_t writes = 2 * (8 + 8);
  const int64_t reads = 3 * (8 * 3);
  EXPECT_EQ(costs.flops_per_token, 2 * (4 * 16 + 3 * 40 + gates + writes + reads));
}

TEST(CostModelTest, GatesOfTheOtherForm) {
  ModelConfig config = Additive();
  config.kind = ResidualKind::kDdlCc;
  config.ddl_value_channels = config.ddl_state_shortconv_kernel_size = 2;
  const ModelCosts single = CostsOf(config, DType::kF32);
  config.ddl_beta_single_linear = false;
  config.ddl_beta_hidden_size = 6;
  EXPECT_EQ(CostsOf(config, DType::kF32).flops_per_token - single.flops_per_token,
            2 * 4 * (6 * 4 + 6 - 4));
  config.ddl_v_constant = true;
  EXPECT_EQ(CostsOf(config, DType::kF32).flops_per_token - single.flops_per_token,
            2 * 4 * (6 * 4 + 6 - 4 - 2 * 4));
  config.use_output_gate = true;
  EXPECT_EQ(CostsOf(config, DType::kF32).flops_per_token - single.flops_per_token,
            2 * 4 * (6 * 4 + 6 - 4 - 2 * 4) + 2 * 2 * 24);
}

TEST(CostModelTest, AStepSharesWeightsAndNothingElse) {
  const ModelCosts model = CostsOf(Additive(), DType::kF32);
  // One that decodes at position 9, and a prompt of three.
  const std::vector<WorkCost> costs = CostsOfStep(model, {Work(1, 10, 1), Work(3, 3, 1)});
  ASSERT_EQ(costs.size(), 2u);
  EXPECT_EQ(costs[0].bytes, 1664 / 4 + 160 / 2 + 96 * (10 + 1) + 160);
  EXPECT_EQ(costs[0].flops, 768 + 48 * 10 + 80);
  EXPECT_EQ(costs[1].bytes, 3 * 1664 / 4 + 160 / 2 + 96 * (3 + 3) + 160 * 3);
  EXPECT_EQ(costs[1].flops, 768 * 3 + 48 * (1 + 2 + 3) + 80);
}

TEST(CostModelTest, WhoWantsNoLogitsDoesNotPayForTheHead) {
  const ModelCosts model = CostsOf(Additive(), DType::kF32);
  const std::vector<WorkCost> costs =
      CostsOfStep(model, {Work(2, 2, 0), Work(2, 2, 2), Work(2, 2, 6)});
  EXPECT_EQ(costs[1].bytes - costs[0].bytes, 160 * 2 / 8);
  EXPECT_EQ(costs[2].bytes - costs[0].bytes, 160 * 6 / 8);
  EXPECT_EQ(costs[2].flops - costs[0].flops, 6 * 80);
}

TEST(CostModelTest, PartsOfAStepAddUpToItsWeights) {
  ModelCosts model;
  model.block_weight_bytes = 1000;
  model.head_weight_bytes = 100;
  const std::vector<WorkCost> costs =
      CostsOfStep(model, {Work(1, 5, 1), Work(7, 9, 0), Work(8, 8, 3)});
  EXPECT_DOUBLE_EQ(costs[0].bytes + costs[1].bytes + costs[2].bytes, 1100);
}

TEST(CostModelTest, TimeIsThatOfBytesAndFlops) {
  const CostModel model(CostsOf(Additive(), DType::kF32),
                        {.bytes_per_second = 1e9, .flops_per_second = 1e12});
  EXPECT_THAT(model.Picoseconds({Work(1, 10, 1), Work(3, 3, 1)}),
              ElementsAre(1000 * 1712 + 1328, 1000 * 2384 + 2672));
  EXPECT_THAT(CostModel().Picoseconds({Work(1, 10, 1), Work(3, 3, 1)}), ElementsAre(1, 1));
}

// Alone a request pays for all of the weights, in company for its part of them.
TEST(CostModelTest, CompanyMakesAStepCheaper) {
  const ModelCosts model = CostsOf(Additive(), DType::kF32);
  const std::vector<SequenceWork> alone = {Work(1, 10, 1)};
  const std::vector<SequenceWork> company(32, Work(1, 10, 1));
  const WorkCost lone = CostsOfStep(model, alone)[0];
  const WorkCost shared = CostsOfStep(model, company)[31];
  EXPECT_DOUBLE_EQ(lone.bytes - shared.bytes, (1664 + 160) * 31 / 32.0);
  EXPECT_EQ(lone.flops, shared.flops);
}

TEST(CostModelTest, ALongContextPaysForItsKeysAndValues) {
  const ModelCosts model = CostsOf(Additive(), DType::kF32);
  const std::vector<WorkCost> costs = CostsOfStep(model, {Work(1, 10, 1), Work(1, 1010, 1)});
  EXPECT_EQ(costs[1].bytes - costs[0].bytes, 1000 * 96);
  EXPECT_EQ(costs[1].flops - costs[0].flops, 1000 * 48);
}

// Whatever the device, its figures are those of a computer.
TEST(CalibrationTest, MeasuresThisMachine) {
  const auto backend = MakeReferenceBackend();
  const absl::StatusOr<DevicePeaks> peaks = MeasurePeaks(*backend, DType::kF32, SteadyClock());
  ASSERT_TRUE(peaks.ok()) << peaks.status();
  EXPECT_GT(peaks->bytes_per_second, 1e5);
  EXPECT_LT(peaks->bytes_per_second, 1e14);
  EXPECT_GT(peaks->flops_per_second, 1e5);
  EXPECT_LT(peaks->flops_per_second, 1e17);
}

}  // namespace
}  // namespace deltaserve
