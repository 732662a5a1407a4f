#include <cstdint>
#include <iterator>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/support/random_checkpoint.h"
#include "tests/support/random_source.h"

namespace deltaserve {
namespace {

Activation RandomActivation(RandomSource& random) {
  // Mostly none, as in the paper.
  return random.Pick({Activation::kIdentity, Activation::kIdentity, Activation::kIdentity,
                      Activation::kSilu, Activation::kRelu, Activation::kEluPlusOne});
}

ModelConfig PaperConfig(ResidualKind kind) {
  ModelConfig config;
  config.kind = kind;
  config.vocab_size = 50304;
  config.head_dim = 128;
  return config;
}

}  // namespace

ModelConfig RandomConfig(uint64_t seed) {
  RandomSource random(seed);
  ModelConfig config;
  config.kind = kResidualKinds[seed % std::size(kResidualKinds)];
  config.vocab_size = random.Integer(50, 600);
  config.hidden_size = random.Integer(8, 96);
  config.num_hidden_layers = random.Integer(1, 3);
  config.num_attention_heads = random.Integer(1, 4);
  config.head_dim = random.Integer(4, 48);
  config.block_size = random.Pick<int64_t>({64, 100, 256});
  if (random.Chance(0.5)) {
    config.eos_token_id = static_cast<int32_t>(random.Integer(0, config.vocab_size - 1));
  }
  config.use_qk_rmsnorm = random.Chance(0.7);
  config.using_groupnorm = random.Chance(0.4);
  config.use_output_gate = random.Chance(0.5);
  config.q_activation = RandomActivation(random);
  config.k_activation = RandomActivation(random);
  config.v_activation = RandomActivation(random);
  config.rope_ratio = random.Pick({1.0, 1.0, 0.75, 0.5, 0.3, 0.0});
  config.rope_base = random.Pick({10000.0, 500.0, 1e6});
  config.rms_norm_eps = random.Pick({1e-5, 1e-6, 1e-2});
  config.mup = random.Chance(0.3);
  config.hidden_size_base =
      random.Integer(config.hidden_size / 2, 2 * config.hidden_size);  // logits of like size

  if (!config.is_ddl()) {
    if (random.Chance(0.4)) config.mlp_hidden_mult = random.Pick({1.0, 2.5, 4.0});
    if (random.Chance(0.3)) config.intermediate_size = random.Integer(1, 200);
    return config;
  }
  config.ddl_k_eps = random.Pick({1e-5, 1e-3, 0.3});
  config.ddl_beta_single_linear = random.Chance(0.5);
  config.ddl_beta_hidden_size = random.Integer(1, 40);
  config.ddl_v_sigmoid = random.Chance(0.7);
  config.ddl_v_sigmoid_scale = random.Pick({4.0, 1.0, 2.5});
  const bool constant = random.Chance(0.2);
  const double constant_value = random.Pick({2.0, 0.5, -1.0});
  if (config.kind == ResidualKind::kDdlScalar) {
    config.ddl_v_dim1_constant = constant;
    config.ddl_v_dim1_constant_value = constant_value;
    return config;
  }
  config.ddl_v_constant = constant;
  config.ddl_v_constant_value = constant_value;
  config.ddl_value_channels = random.Integer(1, 8);
  config.ddl_state_shortconv_kernel_size =
      config.is_cc() ? config.ddl_value_channels : random.Integer(1, 6);
  if (config.has_ec()) config.input_embed_shortconv_kernel_size = random.Integer(1, 6);
  return config;
}

ModelConfig SmallConfig(ResidualKind kind) {
  ModelConfig config = PaperConfig(kind);
  config.num_hidden_layers = 12;
  config.hidden_size = 768;
  config.num_attention_heads = 6;
  return config;
}

ModelConfig MediumConfig(ResidualKind kind) {
  ModelConfig config = PaperConfig(kind);
  config.num_hidden_layers = 24;
  config.hidden_size = 1024;
  config.num_attention_heads = 8;
  return config;
}

std::string ConfigJson(const ModelConfig& config) {
  nlohmann::ordered_json json = {
      {"model_type", "nanogpt-pro"},
      {"architectures", {"GPT"}},
      {"ddl_variant", Name(config.kind)},
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"head_dim", config.head_dim},
      {"block_size", config.block_size},
      {"eos_token_id", nullptr},
      {"use_qk_rmsnorm", config.use_qk_rmsnorm},
      {"using_groupnorm", config.using_groupnorm},
      {"use_output_gate", config.use_output_gate},
      {"q_activation", Name(config.q_activation)},
      {"k_activation", Name(config.k_activation)},
      {"v_activation", Name(config.v_activation)},
      {"rope_ratio", config.rope_ratio},
      {"rope_base", config.rope_base},
      {"rms_norm_eps", config.rms_norm_eps},
      {"mup", config.mup},
      {"hidden_size_base", config.hidden_size_base},
  };
  if (config.eos_token_id) json["eos_token_id"] = *config.eos_token_id;
  if (!config.is_ddl()) {
    json["mlp_hidden_mult"] = config.mlp_hidden_mult;
    if (config.intermediate_size) json["intermediate_size"] = *config.intermediate_size;
    return json.dump(2);
  }
  json["ddl_k_eps"] = config.ddl_k_eps;
  json["ddl_beta_single_linear"] = config.ddl_beta_single_linear;
  json["ddl_beta_hidden_size"] = config.ddl_beta_hidden_size;
  json["ddl_v_sigmoid"] = config.ddl_v_sigmoid;
  json["ddl_v_sigmoid_scale"] = config.ddl_v_sigmoid_scale;
  if (config.kind == ResidualKind::kDdlScalar) {
    json["ddl_v_dim1_constant"] = config.ddl_v_dim1_constant;
    json["ddl_v_dim1_constant_value"] = config.ddl_v_dim1_constant_value;
    return json.dump(2);
  }
  json["ddl_value_channels"] = config.ddl_value_channels;
  json["ddl_state_shortconv_kernel_size"] = config.ddl_state_shortconv_kernel_size;
  json["ddl_v_constant"] = config.ddl_v_constant;
  json["ddl_v_constant_value"] = config.ddl_v_constant_value;
  if (config.has_ec()) {
    json["input_embed_shortconv_kernel_size"] = config.input_embed_shortconv_kernel_size;
  }
  return json.dump(2);
}

}  // namespace deltaserve
