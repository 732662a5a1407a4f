#include "server/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/support/random_checkpoint.h"

namespace deltaserve {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json Minimal(std::string_view variant) {
  return {{"ddl_variant", variant}, {"vocab_size", 499}, {"hidden_size", 80},
          {"num_hidden_layers", 2}, {"head_dim", 48},    {"num_attention_heads", 3}};
}

json With(json config, const json& changes) {
  config.update(changes);
  return config;
}

ModelConfig Parse(const json& config) {
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump());
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(ModelConfig());
}

std::string ErrorOf(const std::string& text, const TensorEvidence* evidence = nullptr) {
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(text, evidence);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

std::string ErrorOf(const json& config) { return ErrorOf(config.dump()); }

TEST(ModelConfigTest, DefaultsAreThoseOfTheFormat) {
  const ModelConfig config = Parse(Minimal("ddl_tc_ec"));
  EXPECT_EQ(config.kind, ResidualKind::kDdlTcEc);
  EXPECT_EQ(config.attention_width(), 144);
  EXPECT_EQ(config.block_size, 1024);
  EXPECT_EQ(config.eos_token_id, std::nullopt);
  EXPECT_TRUE(config.use_qk_rmsnorm);
  EXPECT_FALSE(config.using_groupnorm);
  EXPECT_FALSE(config.use_output_gate);
  EXPECT_EQ(config.q_activation, Activation::kIdentity);
  EXPECT_EQ(config.rope_base, 10000);
  EXPECT_EQ(config.d_v(), 4);
  EXPECT_EQ(config.ddl_state_shortconv_kernel_size, 4);
  EXPECT_EQ(config.input_embed_shortconv_kernel_size, 4);
  EXPECT_EQ(config.ddl_k_eps, 1e-5);
  EXPECT_TRUE(config.ddl_beta_single_linear);
  EXPECT_EQ(config.ddl_beta_hidden_size, 128);
  EXPECT_TRUE(config.ddl_v_sigmoid);
  EXPECT_EQ(config.ddl_v_sigmoid_scale, 4.0);
  EXPECT_EQ(config.ConstantValue(), std::nullopt);
  EXPECT_EQ(config.LogitScale(), 1);
}

TEST(ModelConfigTest, EveryKeyOfEveryKindIsHonoured) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const ModelConfig config = RandomConfig(seed);
    const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(ConfigJson(config));
    ASSERT_TRUE(parsed.ok()) << "seed " << seed << ": " << parsed.status();
    EXPECT_EQ(*parsed, config) << "seed " << seed << ": " << ConfigJson(config);
  }
}

TEST(ModelConfigTest, KindsHaveNames) {
  for (ResidualKind kind : kResidualKinds) {
    EXPECT_EQ(ParseResidualKind(Name(kind)).value(), kind);
    EXPECT_EQ(Parse(Minimal(Name(kind))).kind, kind);
  }
  EXPECT_THAT(std::string(ParseResidualKind("ddl").status().message()),
              AllOf(HasSubstr("\"ddl\""), HasSubstr("\"ddl_cc_ec\"")));
}

TEST(ModelConfigTest, ActivationsByEveryName) {
  const auto q_activation = [](const json& value) {
    return Parse(With(Minimal("additive"), {{"q_activation", value}})).q_activation;
  };
  EXPECT_EQ(q_activation(nullptr), Activation::kIdentity);
  EXPECT_EQ(q_activation("identity"), Activation::kIdentity);
  EXPECT_EQ(q_activation("silu"), Activation::kSilu);
  EXPECT_EQ(q_activation("relu"), Activation::kRelu);
  EXPECT_EQ(q_activation("elu+1"), Activation::kEluPlusOne);
  EXPECT_THAT(ErrorOf(With(Minimal("additive"), {{"v_activation", "gelu"}})),
              AllOf(HasSubstr("\"v_activation\" is \"gelu\""), HasSubstr("\"elu+1\"")));
}

TEST(ModelConfigTest, MlpWidth) {
  EXPECT_EQ(Parse(Minimal("ddl_cc")).MlpWidth(), 213);
  EXPECT_EQ(Parse(With(Minimal("ddl_cc"), {{"hidden_size", 96}})).MlpWidth(), 256);
  EXPECT_EQ(Parse(Minimal("additive")).MlpWidth(), 213);
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"mlp_hidden_mult", 4}})).MlpWidth(), 320);
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"mlp_hidden_mult", 4}, {"intermediate_size", 99}}))
                .MlpWidth(),
            99);
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"intermediate_size", nullptr}})).MlpWidth(), 213);
  // DDL kinds ignore both keys.
  EXPECT_EQ(Parse(With(Minimal("ddl_scalar"), {{"mlp_hidden_mult", 4}, {"intermediate_size", 99}}))
                .MlpWidth(),
            213);
  EXPECT_THAT(ErrorOf(With(Minimal("additive"), {{"mlp_hidden_mult", 1e-4}})),
              HasSubstr("\"mlp_hidden_mult\" is 0.0001, which makes the MLP 0 wide"));
}

TEST(ModelConfigTest, RotaryDimsAreEven) {
  const auto rotary = [](double ratio) {
    return Parse(With(Minimal("additive"), {{"rope_ratio", ratio}})).RotaryDims();
  };
  EXPECT_EQ(rotary(1.0), 48);
  EXPECT_EQ(rotary(0.75), 36);
  EXPECT_EQ(rotary(0.4), 18);  // floor(19.2) is odd
  EXPECT_EQ(rotary(0.0), 0);
}

TEST(ModelConfigTest, NormEpsilonReachesWhatTheFormatSays) {
  const ModelConfig additive = Parse(With(Minimal("additive"), {{"rms_norm_eps", 1e-3}}));
  EXPECT_EQ(additive.BlockNormEps(), 1e-3);
  EXPECT_EQ(additive.OutputNormEps(), 1e-3);
  const ModelConfig ddl = Parse(With(Minimal("ddl_cc"), {{"rms_norm_eps", 1e-3}}));
  EXPECT_EQ(ddl.BlockNormEps(), 1e-5);
  EXPECT_EQ(ddl.OutputNormEps(), 1e-3);
}

TEST(ModelConfigTest, LogitScaleNeedsMup) {
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"hidden_size_base", 40}})).LogitScale(), 1);
  EXPECT_EQ(
      Parse(With(Minimal("additive"), {{"mup", true}, {"hidden_size_base", 40}})).LogitScale(),
      0.5);
  EXPECT_EQ(Parse(With(Minimal("ddl_tc"), {{"mup", true}})).LogitScale(), 1024.0 / 80);
}

TEST(ModelConfigTest, ConstantValueOfItsKindOnly) {
  const json constants = {{"ddl_v_constant", true},
                          {"ddl_v_constant_value", 0.5},
                          {"ddl_v_dim1_constant", true},
                          {"ddl_v_dim1_constant_value", 3}};
  EXPECT_EQ(Parse(With(Minimal("ddl_tc"), constants)).ConstantValue(), 0.5);
  EXPECT_EQ(Parse(With(Minimal("ddl_scalar"), constants)).ConstantValue(), 3);
  EXPECT_EQ(Parse(With(Minimal("additive"), constants)).ConstantValue(), std::nullopt);
}

TEST(ModelConfigTest, ChannelCompressorNeedsItsKernelAsLongAsTheChannels) {
  EXPECT_EQ(
      Parse(With(Minimal("ddl_cc"), {{"ddl_value_channels", 3}})).ddl_state_shortconv_kernel_size,
      3);
  EXPECT_EQ(
      Parse(With(Minimal("ddl_tc"), {{"ddl_value_channels", 3}})).ddl_state_shortconv_kernel_size,
      4);
  EXPECT_THAT(ErrorOf(With(Minimal("ddl_cc_ec"),
                           {{"ddl_value_channels", 3}, {"ddl_state_shortconv_kernel_size", 4}})),
              AllOf(HasSubstr("\"ddl_state_shortconv_kernel_size\" is 4"),
                    HasSubstr("ddl_value_channels, which is 3")));
}

TEST(ModelConfigTest, InertKeysAreAccepted) {
  const ModelConfig config =
      Parse(With(Minimal("ddl_cc"), {{"bias", false},
                                     {"dropout", 0.1},
                                     {"scale_attn_by_inverse_layer_idx", true},
                                     {"embedding_init_std", 0.02},
                                     {"hidden_init_std_factor", 0.5},
                                     {"ddl_beta_init", 1.0},
                                     {"ddl_state_read_init", nullptr},
                                     {"ddl_state_dv_shortconv_causal", true},
                                     {"model_type", "nanogpt-pro"},
                                     {"architectures", {"GPT"}},
                                     {"torch_dtype", "bfloat16"},
                                     {"transformers_version", "4.40.0"},
                                     {"tie_word_embeddings", true},
                                     {"bos_token_id", 1},
                                     {"use_k_shift", false},
                                     {"use_v_shift", false}}));
  EXPECT_EQ(config, Parse(Minimal("ddl_cc")));
}

TEST(ModelConfigTest, EndOfSequence) {
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"eos_token_id", 498}})).eos_token_id, 498);
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"eos_token_id", nullptr}})).eos_token_id,
            std::nullopt);
  EXPECT_THAT(ErrorOf(With(Minimal("additive"), {{"eos_token_id", 499}})),
              HasSubstr("\"eos_token_id\" is 499, but must be between 0 and 498"));
}

TEST(ModelConfigTest, UnknownKeysAreRefusedByName) {
  EXPECT_THAT(ErrorOf(With(Minimal("additive"), {{"rope_scaling", nullptr}})),
              HasSubstr("unknown key \"rope_scaling\""));
  EXPECT_THAT(ErrorOf(With(Minimal("additive"), {{"rope_theta", 1}, {"attn_bias", false}})),
              HasSubstr("unknown keys \"attn_bias\", \"rope_theta\""));
}

TEST(ModelConfigTest, TokenShiftIsRefusedByName) {
  for (const char* key : {"use_k_shift", "use_v_shift"}) {
    EXPECT_THAT(ErrorOf(With(Minimal("ddl_tc"), {{key, true}})),
                HasSubstr(absl::StrCat("\"", key, "\" is true, but must be false")));
  }
  EXPECT_THAT(ErrorOf(With(Minimal("ddl_tc"), {{"tie_word_embeddings", false}})),
              HasSubstr("\"tie_word_embeddings\" is false, but must be true"));
}

TEST(ModelConfigTest, RequiredKeys) {
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "head_dim", "ddl_variant"}) {
    json config = Minimal("additive");
    config.erase(key);
    EXPECT_THAT(ErrorOf(config), HasSubstr(absl::StrCat("\"", key, "\" is missing")));
  }
}

TEST(ModelConfigTest, ValuesOutOfRangeAreRefusedWithTheLimit) {
  const struct {
    const char* key;
    json value;
    const char* message;
  } cases[] = {
      {"vocab_size", 0, "\"vocab_size\" is 0, but must be between 1 and "},
      {"vocab_size", -1, "\"vocab_size\" is -1, but must be between 1 and "},
      {"vocab_size", 1e300, "\"vocab_size\" is 1e+300, but must be an integer"},
      {"vocab_size", 18446744073709551615u, "\"vocab_size\" is 18446744073709551615, but"},
      {"hidden_size", 1 << 30, "\"hidden_size\" is 1073741824, but must be between 1 and "},
      {"hidden_size", "80", "\"hidden_size\" is \"80\", but must be an integer"},
      {"hidden_size", 80.0, "\"hidden_size\" is 80.0, but must be an integer"},
      {"hidden_size", true, "\"hidden_size\" is true, but must be an integer"},
      {"hidden_size", nullptr, "\"hidden_size\" is null, but must be an integer"},
      {"hidden_size", json::array({1}), "\"hidden_size\" is [1], but must be an integer"},
      {"num_hidden_layers", 1 << 20, "\"num_hidden_layers\" is 1048576, but"},
      {"num_attention_heads", 1 << 20, "\"num_attention_heads\" is 1048576, but"},
      {"head_dim", 513, "\"head_dim\" is 513, but must be between 1 and 512"},
      {"block_size", 0, "\"block_size\" is 0, but must be between 1 and "},
      {"use_qk_rmsnorm", 1, "\"use_qk_rmsnorm\" is 1, but must be true or false"},
      {"q_activation", 3, "\"q_activation\" is 3, but must be null or one of "},
      {"rope_ratio", 1.5, "\"rope_ratio\" is 1.5, but must be between 0 and 1"},
      {"rope_ratio", "1", "\"rope_ratio\" is \"1\", but must be a number"},
      {"rope_base", 0, "\"rope_base\" is 0, but must be between "},
      {"rms_norm_eps", 0, "\"rms_norm_eps\" is 0, but must be between "},
      {"hidden_size_base", 0, "\"hidden_size_base\" is 0, but must be between 1 and "},
      {"ddl_value_channels", 9, "\"ddl_value_channels\" is 9, but must be between 1 and 8"},
      {"ddl_state_shortconv_kernel_size", 9,
       "\"ddl_state_shortconv_kernel_size\" is 9, but must be between 1 and 8"},
      {"input_embed_shortconv_kernel_size", 0,
       "\"input_embed_shortconv_kernel_size\" is 0, but must be between 1 and 8"},
      {"ddl_k_eps", -1, "\"ddl_k_eps\" is -1, but must be between "},
      {"ddl_beta_hidden_size", 0, "\"ddl_beta_hidden_size\" is 0, but must be between 1 and "},
      {"ddl_v_sigmoid_scale", 1e30, "\"ddl_v_sigmoid_scale\" is 1e+30, but must be between "},
      {"ddl_variant", "ddl", "\"ddl_variant\" is \"ddl\", but must be one of \"additive\", "},
      {"ddl_variant", 7, "\"ddl_variant\" is 7, but must be one of \"additive\", "},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(ErrorOf(With(Minimal("ddl_tc_ec"), {{test.key, test.value}})),
                HasSubstr(test.message));
  }
}

TEST(ModelConfigTest, KeysOfOtherKindsHaveNoEffect) {
  EXPECT_EQ(Parse(With(Minimal("additive"), {{"ddl_value_channels", 99}, {"ddl_k_eps", -1}})),
            Parse(Minimal("additive")));
}

TEST(ModelConfigTest, MalformedJsonIsAnErrorThatSaysWhere) {
  EXPECT_THAT(ErrorOf(std::string()), HasSubstr("malformed JSON"));
  EXPECT_THAT(ErrorOf(std::string("{\"vocab_size\": 1,}")), HasSubstr("line 1, column 18"));
  EXPECT_THAT(ErrorOf(std::string("{\"vocab_size\": 1, \"vocab_size\": 2}")),
              HasSubstr("key \"vocab_size\" is given twice"));
  EXPECT_THAT(ErrorOf(std::string("{\"rope_base\": 1e999}")),
              AllOf(HasSubstr("1e999"), HasSubstr("\"rope_base\"")));
  EXPECT_THAT(ErrorOf(std::string("{\"rope_base\": NaN}")), HasSubstr("\"rope_base\""));
  EXPECT_THAT(ErrorOf(std::string("{\"a\xff\": 1}")), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf(std::string("[1]")), HasSubstr("is [1], but must be a JSON object"));
  EXPECT_THAT(ErrorOf(std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(ErrorOf(std::string("{} {}")), HasSubstr("malformed JSON"));
}

TEST(TensorEvidenceTest, TellsTheKind) {
  TensorEvidence evidence;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kAdditive);
  evidence.has_ddl_attn = true;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kDdlScalar);
  evidence.readout_read_length = 4;
  EXPECT_EQ(evidence.Kind(), std::nullopt);
  evidence.has_readout_shortconv = true;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kDdlTc);
  evidence.has_embed_conv = true;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kDdlTcEc);
  evidence.has_readout_weight = true;
  EXPECT_EQ(evidence.Kind(), std::nullopt);
  evidence.has_readout_shortconv = false;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kDdlCcEc);
  evidence.has_embed_conv = false;
  EXPECT_EQ(evidence.Kind(), ResidualKind::kDdlCc);
}

TEST(TensorEvidenceTest, StandsInForTheConfigurationOrContradictsIt) {
  TensorEvidence evidence;
  evidence.has_ddl_attn = true;
  evidence.has_readout_weight = true;
  evidence.readout_read_length = 3;

  json config = Minimal("ddl_cc");
  config.erase("ddl_variant");
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump(), &evidence);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->kind, ResidualKind::kDdlCc);
  EXPECT_EQ(parsed->d_v(), 3);
  EXPECT_EQ(parsed->ddl_state_shortconv_kernel_size, 3);

  EXPECT_THAT(ErrorOf(With(config, {{"ddl_value_channels", 4}}).dump(), &evidence),
              HasSubstr("\"ddl_value_channels\" is 4, but the tensor \"readout.read\" has length "
                        "3"));
  EXPECT_THAT(ErrorOf(Minimal("ddl_tc").dump(), &evidence),
              AllOf(HasSubstr("\"ddl_tc\""), HasSubstr("\"ddl_cc\"")));
  evidence.has_readout_shortconv = true;
  EXPECT_THAT(ErrorOf(config.dump(), &evidence), HasSubstr("cannot tell the residual kind"));
}

}  // namespace
}  // namespace deltaserve
