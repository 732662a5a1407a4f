#include "server/model/config.h"

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/model/assign_or_return.h"
#include "server/model/strict_json.h"

namespace deltaserve {
namespace {

using nlohmann::json;

constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;  // of hidden states and of the MLP
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxBlockSize = int64_t{1} << 20;
constexpr double kMinEps = 1e-12;  // its square is a normal float
constexpr double kMaxConstant = 1e6;

// Keys of the reference code, of these fixtures or of Hugging Face's bookkeeping that change
// nothing at inference.
constexpr std::string_view kInertKeys[] = {"bias",
                                           "dropout",
                                           "scale_attn_by_inverse_layer_idx",
                                           "embedding_init_std",
                                           "hidden_init_std_factor",
                                           "ddl_beta_init",
                                           "ddl_state_read_init",
                                           "ddl_state_dv_shortconv_causal",
                                           "model_type",
                                           "architectures",
                                           "auto_map",
                                           "dtype",
                                           "torch_dtype",
                                           "transformers_version",
                                           "_name_or_path",
                                           "bos_token_id",
                                           "pad_token_id",
                                           "use_cache"};

constexpr std::pair<std::string_view, ResidualKind> kKindNames[] = {
    {"additive", ResidualKind::kAdditive}, {"ddl_scalar", ResidualKind::kDdlScalar},
    {"ddl_tc", ResidualKind::kDdlTc},      {"ddl_tc_ec", ResidualKind::kDdlTcEc},
    {"ddl_cc", ResidualKind::kDdlCc},      {"ddl_cc_ec", ResidualKind::kDdlCcEc}};

constexpr std::pair<std::string_view, Activation> kActivationNames[] = {
    {"identity", Activation::kIdentity},
    {"silu", Activation::kSilu},
    {"relu", Activation::kRelu},
    {"elu+1", Activation::kEluPlusOne}};

// "a", "b", "c"
template <typename Table>
std::string QuotedNames(const Table& table) {
  return absl::StrJoin(table, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, "\"", std::string(entry.first), "\"");
  });
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

std::string Describe(const TensorEvidence& evidence) {
  return absl::StrCat("ddl_attn: ", YesNo(evidence.has_ddl_attn),
                      ", readout.shortconv.weight: ", YesNo(evidence.has_readout_shortconv),
                      ", readout.weight: ", YesNo(evidence.has_readout_weight),
                      ", input_embed.conv.weight: ", YesNo(evidence.has_embed_conv));
}

// Takes keys out of a JSON object one by one. The first thing wrong becomes the status and turns
// the later calls into no-ops. An absent key leaves `out` as it is.
class KeyReader {
 public:
  explicit KeyReader(const json& object) : object_(object) {}

  void Integer(const char* key, int64_t min, int64_t max, int64_t& out) {
    out = TakeInteger(key, min, max).value_or(out);
  }

  void RequiredInteger(const char* key, int64_t min, int64_t max, int64_t& out) {
    if (!object_.contains(key)) Fail(absl::StrCat("key \"", key, "\" is missing"));
    Integer(key, min, max, out);
  }

  // null is the same as absent.
  template <typename Int>
  void OptionalInteger(const char* key, int64_t min, int64_t max, std::optional<Int>& out) {
    if (const auto found = object_.find(key); found != object_.end() && found->is_null()) {
      return Ignore(key);
    }
    const std::optional<int64_t> number = TakeInteger(key, min, max);
    if (number) out = static_cast<Int>(*number);
  }

  void Real(const char* key, double min, double max, double& out) {
    const json* value = Take(key);
    if (value == nullptr) return;
    if (!value->is_number()) return Refuse(key, *value, "a number");
    const double number = value->get<double>();
    if (!(number >= min && number <= max)) {
      return Refuse(key, *value, absl::StrCat("between ", min, " and ", max));
    }
    out = number;
  }

  void Boolean(const char* key, bool& out) {
    const json* value = Take(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) return Refuse(key, *value, "true or false");
    out = value->get<bool>();
  }

  // The value must be one of the table's names; null leaves `out` as it is if `nullable`.
  template <typename Table, typename T>
  void OneOf(const char* key, const Table& table, bool nullable, T& out) {
    const json* value = Take(key);
    if (value == nullptr || (nullable && value->is_null())) return;
    for (const auto& [name, meaning] : table) {
      if (value->is_string() && value->get_ref<const std::string&>() == name) {
        out = meaning;
        return;
      }
    }
    Refuse(key, *value, absl::StrCat(nullable ? "null or " : "", "one of ", QuotedNames(table)));
  }

  // The one value this server can serve.
  void MustBe(const char* key, bool expected) {
    bool value = expected;
    Boolean(key, value);
    if (value != expected) {
      Refuse(key, json(value),
             absl::StrCat(expected ? "true" : "false", ": nothing else is supported"));
    }
  }

  void Ignore(std::string_view key) { taken_.insert(key); }
  void Ignore(std::initializer_list<std::string_view> keys) {
    for (std::string_view key : keys) Ignore(key);
  }

  void Refuse(const char* key, const json& value, const std::string& allowed) {
    Fail(absl::StrCat("key \"", key, "\" is ", Show(value), ", but must be ", allowed));
  }
  void Fail(const std::string& message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(message);
  }

  // The first error, or a complaint about the keys nobody took.
  absl::Status Finish() const {
    if (!status_.ok()) return status_;
    std::vector<std::string> unknown;
    for (const auto& item : object_.items()) {
      if (!taken_.contains(item.key())) unknown.push_back(Quoted(item.key()));
    }
    if (unknown.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("unknown ", unknown.size() == 1 ? "key " : "keys ",
                     absl::StrJoin(unknown, ", "), ": this server cannot honour it"));
  }

 private:
  const json* Take(const char* key) {
    Ignore(key);
    const auto found = object_.find(key);
    return status_.ok() && found != object_.end() ? &*found : nullptr;
  }

  std::optional<int64_t> TakeInteger(const char* key, int64_t min, int64_t max) {
    const json* value = Take(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer()) {
      Refuse(key, *value, "an integer");
      return std::nullopt;
    }
    const int64_t number = value->get<int64_t>();
    const bool wrapped = value->is_number_unsigned() && number < 0;  // past int64_t's range
    if (wrapped || number < min || number > max) {
      Refuse(key, *value, absl::StrCat("between ", min, " and ", max));
      return std::nullopt;
    }
    return number;
  }

  const json& object_;
  absl::flat_hash_set<std::string_view> taken_;
  absl::Status status_;
};

void ReadKind(KeyReader& reader, const TensorEvidence* evidence, ModelConfig& config) {
  std::optional<ResidualKind> named;
  reader.OneOf("ddl_variant", kKindNames, /*nullable=*/false, named);
  std::optional<ResidualKind> seen;
  if (evidence != nullptr) seen = evidence->Kind();
  config.kind = named.value_or(seen.value_or(ResidualKind::kAdditive));
  if (seen.value_or(config.kind) != config.kind) {
    reader.Fail(absl::StrCat("key \"ddl_variant\" is \"", std::string(Name(config.kind)),
                             "\", but the tensors are those of \"",
                             std::string(Name(seen.value_or(config.kind))), "\" (",
                             Describe(*evidence), ")"));
  }
  if (!named && !seen) {
    reader.Fail(absl::StrCat(
        "cannot tell the residual kind: key \"ddl_variant\" is missing",
        evidence ? absl::StrCat(", and the tensors fit no one kind (", Describe(*evidence), ")")
                 : ""));
  }
}

void ReadShape(KeyReader& reader, ModelConfig& config) {
  reader.RequiredInteger("vocab_size", 1, kMaxVocabSize, config.vocab_size);
  reader.RequiredInteger("hidden_size", 1, kMaxWidth, config.hidden_size);
  reader.RequiredInteger("num_hidden_layers", 1, kMaxLayers, config.num_hidden_layers);
  reader.RequiredInteger("num_attention_heads", 1, kMaxHeads, config.num_attention_heads);
  reader.RequiredInteger("head_dim", 1, kMaxHeadDim, config.head_dim);
  reader.Integer("block_size", 1, kMaxBlockSize, config.block_size);
  reader.OptionalInteger("eos_token_id", 0, config.vocab_size - 1, config.eos_token_id);
  reader.MustBe("tie_word_embeddings", true);
}

void ReadSublayers(KeyReader& reader, ModelConfig& config) {
  reader.Boolean("use_qk_rmsnorm", config.use_qk_rmsnorm);
  reader.Boolean("using_groupnorm", config.using_groupnorm);
  reader.Boolean("use_output_gate", config.use_output_gate);
  reader.MustBe("use_k_shift", false);
  reader.MustBe("use_v_shift", false);
  reader.OneOf("q_activation", kActivationNames, /*nullable=*/true, config.q_activation);
  reader.OneOf("k_activation", kActivationNames, /*nullable=*/true, config.k_activation);
  reader.OneOf("v_activation", kActivationNames, /*nullable=*/true, config.v_activation);
  reader.Real("rope_ratio", 0, 1, config.rope_ratio);
  reader.Real("rope_base", 1e-3, 1e12, config.rope_base);
  reader.Real("rms_norm_eps", kMinEps, 1, config.rms_norm_eps);
  reader.Boolean("mup", config.mup);
  reader.Integer("hidden_size_base", 1, kMaxWidth, config.hidden_size_base);

  if (config.is_ddl()) return reader.Ignore({"mlp_hidden_mult", "intermediate_size"});
  reader.Real("mlp_hidden_mult", 1e-6, 64, config.mlp_hidden_mult);
  reader.OptionalInteger("intermediate_size", 1, kMaxWidth, config.intermediate_size);
  if (config.MlpWidth() < 1 || config.MlpWidth() > kMaxWidth) {
    reader.Fail(absl::StrCat("key \"mlp_hidden_mult\" is ", config.mlp_hidden_mult,
                             ", which makes the MLP ", config.MlpWidth(),
                             " wide; it must be between 1 and ", kMaxWidth));
  }
}

void ReadValueChannels(KeyReader& reader, const TensorEvidence* evidence, ModelConfig& config) {
  // 0: there is no such tensor (an empty one is the checkpoint's to refuse, by its shape).
  const int64_t read_length = evidence ? evidence->readout_read_length.value_or(0) : 0;
  int64_t d_v = read_length > 0 ? read_length : config.ddl_value_channels;
  reader.Integer("ddl_value_channels", 1, kMaxValueChannels, d_v);
  if (read_length > 0 && read_length != d_v) {
    reader.Fail(absl::StrCat("key \"ddl_value_channels\" is ", d_v,
                             ", but the tensor \"readout.read\" has length ", read_length));
  }
  if (d_v > kMaxValueChannels) {
    reader.Fail(absl::StrCat("the tensor \"readout.read\" has length ", d_v,
                             ", but must have between 1 and ", kMaxValueChannels));
  }
  config.ddl_value_channels = d_v;
  if (config.is_cc()) config.ddl_state_shortconv_kernel_size = d_v;
  reader.Integer("ddl_state_shortconv_kernel_size", 1, kMaxKernelSize,
                 config.ddl_state_shortconv_kernel_size);
  if (config.is_cc() && config.ddl_state_shortconv_kernel_size != d_v) {
    reader.Fail(absl::StrCat("key \"ddl_state_shortconv_kernel_size\" is ",
                             config.ddl_state_shortconv_kernel_size, ", but ",
                             std::string(Name(config.kind)),
                             " needs it to equal ddl_value_channels, which is ", d_v));
  }
}

void ReadResidual(KeyReader& reader, const TensorEvidence* evidence, ModelConfig& config) {
  if (config.is_tc() || config.is_cc()) {
    ReadValueChannels(reader, evidence, config);
    reader.Boolean("ddl_v_constant", config.ddl_v_constant);
    reader.Real("ddl_v_constant_value", -kMaxConstant, kMaxConstant, config.ddl_v_constant_value);
  } else {
    reader.Ignore({"ddl_value_channels", "ddl_state_shortconv_kernel_size", "ddl_v_constant",
                   "ddl_v_constant_value"});
  }
  if (config.has_ec()) {
    reader.Integer("input_embed_shortconv_kernel_size", 1, kMaxKernelSize,
                   config.input_embed_shortconv_kernel_size);
  } else {
    reader.Ignore("input_embed_shortconv_kernel_size");
  }
  if (config.kind == ResidualKind::kDdlScalar) {
    reader.Boolean("ddl_v_dim1_constant", config.ddl_v_dim1_constant);
    reader.Real("ddl_v_dim1_constant_value", -kMaxConstant, kMaxConstant,
                config.ddl_v_dim1_constant_value);
  } else {
    reader.Ignore({"ddl_v_dim1_constant", "ddl_v_dim1_constant_value"});
  }
  if (config.is_ddl()) {
    reader.Real("ddl_k_eps", kMinEps, 1, config.ddl_k_eps);
    reader.Boolean("ddl_beta_single_linear", config.ddl_beta_single_linear);
    reader.Integer("ddl_beta_hidden_size", 1, kMaxWidth, config.ddl_beta_hidden_size);
    reader.Boolean("ddl_v_sigmoid", config.ddl_v_sigmoid);
    reader.Real("ddl_v_sigmoid_scale", -kMaxConstant, kMaxConstant, config.ddl_v_sigmoid_scale);
  } else {
    reader.Ignore({"ddl_k_eps", "ddl_beta_single_linear", "ddl_beta_hidden_size", "ddl_v_sigmoid",
                   "ddl_v_sigmoid_scale"});
  }
}

}  // namespace

std::string_view Name(ResidualKind kind) {
  for (const auto& [name, entry] : kKindNames) {
    if (entry == kind) return name;
  }
  return "?";
}

absl::StatusOr<ResidualKind> ParseResidualKind(std::string_view name) {
  for (const auto& [entry, kind] : kKindNames) {
    if (entry == name) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("residual kind ", Quoted(name), " is none of ", QuotedNames(kKindNames)));
}

std::string_view Name(Activation activation) {
  for (const auto& [name, entry] : kActivationNames) {
    if (entry == activation) return name;
  }
  return "?";
}

int64_t ModelConfig::MlpWidth() const {
  if (is_ddl()) return static_cast<int64_t>(8.0 / 3.0 * static_cast<double>(hidden_size));
  if (intermediate_size) return *intermediate_size;
  return static_cast<int64_t>(mlp_hidden_mult * static_cast<double>(hidden_size));
}

int64_t ModelConfig::RotaryDims() const {
  return static_cast<int64_t>(static_cast<double>(head_dim) * rope_ratio) & ~int64_t{1};
}

double ModelConfig::BlockNormEps() const { return is_ddl() ? kNormEps : rms_norm_eps; }

double ModelConfig::OutputNormEps() const { return rms_norm_eps; }

double ModelConfig::LogitScale() const {
  return mup ? static_cast<double>(hidden_size_base) / static_cast<double>(hidden_size) : 1.0;
}

std::optional<double> ModelConfig::ConstantValue() const {
  if (kind == ResidualKind::kDdlScalar) {
    return ddl_v_dim1_constant ? std::optional(ddl_v_dim1_constant_value) : std::nullopt;
  }
  return is_ddl() && ddl_v_constant ? std::optional(ddl_v_constant_value) : std::nullopt;
}

std::optional<ResidualKind> TensorEvidence::Kind() const {
  const bool compressed = has_readout_shortconv || has_readout_weight;
  if (!has_ddl_attn || !compressed) {
    const bool stray = compressed || has_embed_conv || readout_read_length.has_value();
    if (stray) return std::nullopt;
    return has_ddl_attn ? ResidualKind::kDdlScalar : ResidualKind::kAdditive;
  }
  if (has_readout_shortconv && has_readout_weight) return std::nullopt;
  if (has_readout_shortconv) {
    return has_embed_conv ? ResidualKind::kDdlTcEc : ResidualKind::kDdlTc;
  }
  return has_embed_conv ? ResidualKind::kDdlCcEc : ResidualKind::kDdlCc;
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text,
                                             const TensorEvidence* evidence) {
  ASSIGN_OR_RETURN(const json document, ParseStrictJson(text));
  if (!document.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the configuration is ", Show(document), ", but must be a JSON object"));
  }
  ModelConfig config;
  KeyReader reader(document);
  ReadKind(reader, evidence, config);
  ReadShape(reader, config);
  ReadSublayers(reader, config);
  ReadResidual(reader, evidence, config);
  for (std::string_view key : kInertKeys) reader.Ignore(key);
  RETURN_IF_ERROR(reader.Finish());
  return config;
}

}  // namespace deltaserve
