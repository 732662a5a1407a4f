#include "server/model/tensor_specs.h"

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

void AppendDelta(const ModelConfig& config, const std::string& name,
                 std::vector<TensorSpec>& tensors) {
  const int64_t d = config.hidden_size;
  const int64_t gate = config.ddl_beta_hidden_size;
  tensors.push_back({name + ".v_proj.weight", {config.d_v(), d}});
  tensors.push_back({name + ".v_proj.bias", {config.d_v()}});
  if (config.ddl_beta_single_linear) {
    tensors.push_back({name + ".beta.weight", {1, d}});
    tensors.push_back({name + ".beta.bias", {1}});
  } else {
    tensors.push_back({name + ".beta_in.weight", {gate, d}});
    tensors.push_back({name + ".beta_out.weight", {1, gate}});
    tensors.push_back({name + ".beta_out.bias", {1}});
  }
}

void AppendCompressor(const ModelConfig& config, const std::string& name,
                      std::vector<TensorSpec>& tensors) {
  const int64_t d = config.hidden_size;
  const int64_t kernel = config.ddl_state_shortconv_kernel_size;
  if (config.is_tc()) tensors.push_back({name + ".shortconv.weight", {d * config.d_v(), kernel}});
  if (config.is_cc()) tensors.push_back({name + ".weight", {d, kernel}});
  if (config.is_tc() || config.is_cc()) tensors.push_back({name + ".read", {config.d_v()}});
}

void AppendBlock(const ModelConfig& config, const std::string& name,
                 std::vector<TensorSpec>& tensors) {
  const int64_t d = config.hidden_size;
  const int64_t attention = config.attention_width();
  const int64_t mlp = config.MlpWidth();
  AppendCompressor(config, name + ".compress", tensors);
  tensors.push_back({name + ".ln_1.weight", {d}});
  for (const char* projection : {"c_q", "c_k", "c_v"}) {
    tensors.push_back({absl::StrCat(name, ".attn.", projection, ".weight"), {attention, d}});
  }
  if (config.use_output_gate) tensors.push_back({name + ".attn.g_proj.weight", {attention, d}});
  const auto append_head_norm = [&](const char* norm, bool present) {
    if (!present) return;
    tensors.push_back({absl::StrCat(name, ".attn.", norm, ".weight"), {config.head_dim}});
  };
  append_head_norm("q_rms", config.use_qk_rmsnorm);
  append_head_norm("k_rms", config.use_qk_rmsnorm);
  append_head_norm("subln", config.using_groupnorm);
  append_head_norm("o_norm", config.use_output_gate && !config.using_groupnorm);
  tensors.push_back({name + ".attn.c_proj.weight", {d, attention}});
  if (config.is_ddl()) AppendDelta(config, name + ".ddl_attn", tensors);
  tensors.push_back({name + ".ln_2.weight", {d}});
  tensors.push_back({name + ".mlp.c_fc1.weight", {mlp, d}});
  tensors.push_back({name + ".mlp.c_fc2.weight", {mlp, d}});
  tensors.push_back({name + ".mlp.c_proj.weight", {d, mlp}});
  if (config.is_ddl()) AppendDelta(config, name + ".ddl_mlp", tensors);
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  std::vector<TensorSpec> tensors;
  tensors.push_back({kEmbeddingName, {config.vocab_size, d}});
  if (config.has_ec()) {
    tensors.push_back({"input_embed.conv.weight",
                       {d * config.d_v(), 1, config.input_embed_shortconv_kernel_size}});
  }
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    AppendBlock(config, absl::StrCat("transformer.h.", layer), tensors);
  }
  AppendCompressor(config, "readout", tensors);
  tensors.push_back({"ln_f.weight", {d}});
  return tensors;
}

}  // namespace deltaserve
