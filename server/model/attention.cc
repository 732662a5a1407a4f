#include "server/model/attention.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::StatusOr<Attention> Attention::Load(const ModelConfig& config, int64_t layer,
                                          const std::optional<std::string>& gate_hidden_weight,
                                          const RopeTables& rope, const WeightLoader& loader) {
  const std::string prefix = absl::StrCat("transformer.h.", layer, ".attn.");
  Attention attention;
  attention.backend_ = &loader.backend();
  attention.num_heads_ = config.num_attention_heads;
  attention.width_ = config.attention_width();
  attention.scale_ = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  attention.has_output_gate_ = config.use_output_gate;
  attention.has_gate_hidden_ = gate_hidden_weight.has_value();

  std::vector<std::string> projections = {prefix + "c_q.weight", prefix + "c_k.weight",
                                          prefix + "c_v.weight"};
  if (config.use_output_gate) projections.push_back(prefix + "g_proj.weight");
  if (gate_hidden_weight) projections.push_back(*gate_hidden_weight);
  ASSIGN_OR_RETURN(attention.projection_, loader.LoadLinear(projections));
  ASSIGN_OR_RETURN(attention.output_, loader.LoadLinear({prefix + "c_proj.weight"}));

  PrepareAttentionParams& prepare = attention.prepare_;
  prepare.num_heads = config.num_attention_heads;
  prepare.q_activation = config.q_activation;
  prepare.k_activation = config.k_activation;
  prepare.v_activation = config.v_activation;
  prepare.rope_cos = rope.cos.view;
  prepare.rope_sin = rope.sin.view;
  prepare.norm_eps = static_cast<float>(kNormEps);
  if (config.use_qk_rmsnorm) {
    ASSIGN_OR_RETURN(attention.q_norm_, loader.LoadVector(prefix + "q_rms.weight"));
    ASSIGN_OR_RETURN(attention.k_norm_, loader.LoadVector(prefix + "k_rms.weight"));
    prepare.q_norm = attention.q_norm_.view;
    prepare.k_norm = attention.k_norm_.view;
  }

  HeadNormGateParams& head_norm = attention.head_norm_;
  head_norm.num_heads = config.num_attention_heads;
  if (config.using_groupnorm || config.use_output_gate) {
    const char* norm = config.using_groupnorm ? "subln.weight" : "o_norm.weight";
    ASSIGN_OR_RETURN(attention.head_norm_weight_, loader.LoadVector(prefix + norm));
    head_norm.norm_weight = attention.head_norm_weight_.view;
    head_norm.norm_eps =
        static_cast<float>(config.using_groupnorm ? kNormEps : config.OutputNormEps());
  }
  return attention;
}

void Attention::Forward(const Step& step, TensorView kv, TensorView next_kv, SublayerIo& io,
                        TensorView projected, TensorView y) const {
  backend_->Linear({projection_.get(), io.c, projected});
  int64_t column = 3 * width_;

  PrepareAttentionParams prepare = prepare_;
  prepare.batch = step.batch;
  prepare.q = projected.Columns(0, width_);
  prepare.k = projected.Columns(width_, width_);
  prepare.v = projected.Columns(2 * width_, width_);
  prepare.kv = kv;
  backend_->PrepareAttention(prepare);

  AttentionParams attend;
  attend.batch = step.batch;
  attend.q = prepare.q;
  attend.kv = kv;
  attend.next_kv = next_kv;
  attend.num_heads = num_heads_;
  attend.scale = scale_;
  attend.y = y;
  backend_->Attention(attend);

  if (head_norm_.norm_weight) {
    HeadNormGateParams head_norm = head_norm_;
    head_norm.y = y;
    if (has_output_gate_) {
      head_norm.gate = projected.Columns(column, width_);
      column += width_;
    }
    backend_->HeadNormGate(head_norm);
  }
  if (has_gate_hidden_) io.gate_hidden = projected.Columns(column, projected.dim(1) - column);
  backend_->Linear({output_.get(), y, io.h});
}

}  // namespace deltaserve
