#include "tests/invariants/invariant_models.h"

#include <bit>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "tests/support/random_checkpoint.h"

namespace deltaserve {

void InvariantTest::SetUp() {
  const auto& [kind, size, dtype] = GetParam();
  ModelConfig config;
  config.kind = kind;
  config.vocab_size = kVocab;
  config.block_size = kContext;
  config.num_hidden_layers = 2;
  const bool tiny = size == ModelSize::kTiny;
  config.hidden_size = tiny ? 23 : 152;
  config.num_attention_heads = tiny ? 2 : 3;
  config.head_dim = tiny ? 14 : 56;
  config.use_output_gate = tiny;
  config.using_groupnorm = !tiny;
  config.ddl_beta_single_linear = tiny;
  config.ddl_value_channels = tiny ? 3 : 4;
  config.ddl_state_shortconv_kernel_size = config.is_cc() || !tiny ? config.ddl_value_channels : 5;
  config.input_embed_shortconv_kernel_size = tiny ? 2 : 4;
  const absl::Status status = WriteRandomCheckpoint(dir_.path(), config, /*seed=*/1, dtype);
  ASSERT_TRUE(status.ok()) << status;
}

std::unique_ptr<Backend> InvariantTest::MakeBackend(int num_threads) {
  return *MakeCpuBackend({.num_threads = num_threads});
}

std::vector<int32_t> InvariantTest::RandomTokens(RandomSource& random, int64_t count) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Integer(0, kVocab - 1));
  return tokens;
}

std::string InvariantModelName(const testing::TestParamInfo<InvariantModel>& info) {
  const auto& [kind, size, dtype] = info.param;
  std::string name(Name(kind));
  name += size == ModelSize::kTiny ? "_tiny_" : "_small_";
  return name.append(Name(dtype));
}

std::vector<InvariantModel> AllInvariantModels() {
  std::vector<InvariantModel> models;
  for (const ResidualKind kind : kResidualKinds) {
    for (const ModelSize size : {ModelSize::kTiny, ModelSize::kSmall}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) models.emplace_back(kind, size, dtype);
    }
  }
  return models;
}

void ExpectSameBits(const std::vector<float>& actual, const std::vector<float>& expected,
                    const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(std::isfinite(expected[i])) << what << " " << i;
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
        << what << " " << i << ": " << actual[i] << " and " << expected[i];
  }
}

}  // namespace deltaserve
