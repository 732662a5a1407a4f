// The random models that other tests and the benchmarks rely on.
#include "tests/support/random_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "server/model/checkpoint.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

TEST(RandomConfigTest, CoversEveryKindAndForm) {
  std::set<ResidualKind> kinds;
  std::set<int64_t> channels, kernels, embed_kernels;
  std::set<Activation> activations;
  std::set<bool> gates, constants, sigmoids, output_gates, group_norms, qk_norms, mups;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const ModelConfig config = RandomConfig(seed);
    kinds.insert(config.kind);
    activations.insert(config.q_activation);
    output_gates.insert(config.use_output_gate);
    group_norms.insert(config.using_groupnorm);
    qk_norms.insert(config.use_qk_rmsnorm);
    mups.insert(config.mup);
    if (config.is_ddl()) {
      channels.insert(config.d_v());
      gates.insert(config.ddl_beta_single_linear);
      sigmoids.insert(config.ddl_v_sigmoid);
      constants.insert(config.ConstantValue().has_value());
    }
    if (config.is_tc()) kernels.insert(config.ddl_state_shortconv_kernel_size);
    if (config.has_ec()) embed_kernels.insert(config.input_embed_shortconv_kernel_size);
  }
  EXPECT_EQ(kinds.size(), 6u);
  EXPECT_EQ(channels, (std::set<int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(kernels, (std::set<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(embed_kernels, (std::set<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(activations.size(), 4u);
  for (const std::set<bool>& flag :
       {gates, constants, sigmoids, output_gates, group_norms, qk_norms, mups}) {
    EXPECT_EQ(flag.size(), 2u);
  }
}

TEST(RandomCheckpointTest, SameSeedSameWeights) {
  const ModelConfig config = RandomConfig(9);
  const auto embedding = [&](uint64_t seed, DType stored) {
    TempDir dir;
    EXPECT_TRUE(WriteRandomCheckpoint(dir.path(), config, seed, stored).ok());
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir.path());
    std::vector<float> values(config.vocab_size * config.hidden_size);
    EXPECT_TRUE(checkpoint->ReadF32("transformer.wte.weight", absl::MakeSpan(values)).ok());
    return values;
  };
  const std::vector<float> values = embedding(1, DType::kF32);
  EXPECT_EQ(values, embedding(1, DType::kF32));
  EXPECT_NE(values, embedding(2, DType::kF32));
  const std::vector<float> rounded = embedding(1, DType::kBF16);
  double sum = 0, sum_of_squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(rounded[i], FromBFloat16(ToBFloat16(values[i])));
    sum += values[i];
    sum_of_squares += values[i] * values[i];
  }
  const double count = static_cast<double>(values.size());
  const double deviation = 2 / std::sqrt(static_cast<double>(config.hidden_size));
  EXPECT_NEAR(sum / count, 0, 0.05 * deviation);
  EXPECT_NEAR(std::sqrt(sum_of_squares / count), deviation, 0.05 * deviation);
}

TEST(RandomCheckpointTest, ShapesOfTheBenchmarks) {
  EXPECT_EQ(SmallConfig(ResidualKind::kDdlTc).MlpWidth(), 2048);
  EXPECT_EQ(MediumConfig(ResidualKind::kDdlTc).MlpWidth(), 2730);
}

TEST(SafetensorsWriterTest, Float16RoundTripsThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = FromFloat16(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      EXPECT_EQ(ToFloat16(value), bits);
    }
  }
  EXPECT_EQ(ToFloat16(1 + 0x1p-11f), 0x3c00);  // tie, to even
  EXPECT_EQ(ToFloat16(1 + 0x3p-11f), 0x3c02);  // tie, to even
  EXPECT_EQ(ToFloat16(2 - 0x1p-12f), 0x4000);  // carries into the exponent
  EXPECT_EQ(ToFloat16(65520), 0x7c00);
}

}  // namespace
}  // namespace deltaserve
