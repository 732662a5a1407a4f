// The configuration of a model: config.json as FORMAT.md 1.1 describes it, checked.
#ifndef DELTASERVE_SERVER_MODEL_CONFIG_H_
#define DELTASERVE_SERVER_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/ops.h"

namespace deltaserve {

// How a sublayer's output enters the residual stream. TC and CC: the state has d_v value channels,
// compressed along the token or the channel axis; EC: a convolution over embeddings starts it.
enum class ResidualKind : uint8_t { kAdditive, kDdlScalar, kDdlTc, kDdlTcEc, kDdlCc, kDdlCcEc };

inline constexpr ResidualKind kResidualKinds[] = {ResidualKind::kAdditive, ResidualKind::kDdlScalar,
                                                  ResidualKind::kDdlTc,    ResidualKind::kDdlTcEc,
                                                  ResidualKind::kDdlCc,    ResidualKind::kDdlCcEc};

std::string_view Name(ResidualKind kind);  // as in `ddl_variant`: "additive", "ddl_tc_ec", ...
absl::StatusOr<ResidualKind> ParseResidualKind(std::string_view name);

// As in config.json: "identity", "silu", "relu", "elu+1".
std::string_view Name(Activation activation);

// Epsilon of q_rms, k_rms and subln, and of every block norm of a DDL model (FORMAT.md 3.1).
inline constexpr double kNormEps = 1e-5;

// Limits no configuration may pass. With them every tensor's size fits an int64_t.
inline constexpr int64_t kMaxHeadDim = 512;
inline constexpr int64_t kMaxValueChannels = 8;
inline constexpr int64_t kMaxKernelSize = 8;

// Fields bear the names of their keys. A key that its kind does not read keeps its default.
struct ModelConfig {
  ResidualKind kind = ResidualKind::kAdditive;

  int64_t vocab_size = 0;           // V
  int64_t hidden_size = 0;          // d
  int64_t num_hidden_layers = 0;    // L
  int64_t num_attention_heads = 0;  // H
  int64_t head_dim = 0;             // D; H * D need not equal d
  int64_t block_size = 1024;        // context length in tokens
  std::optional<int32_t> eos_token_id;

  bool use_qk_rmsnorm = true;
  bool using_groupnorm = false;
  bool use_output_gate = false;
  Activation q_activation = Activation::kIdentity;
  Activation k_activation = Activation::kIdentity;
  Activation v_activation = Activation::kIdentity;
  double rope_ratio = 1.0;
  double rope_base = 10000.0;
  double rms_norm_eps = 1e-5;

  // Additive only.
  double mlp_hidden_mult = 8.0 / 3.0;
  std::optional<int64_t> intermediate_size;

  bool mup = false;
  int64_t hidden_size_base = 1024;

  // TC and CC.
  int64_t ddl_value_channels = 4;               // d_v
  int64_t ddl_state_shortconv_kernel_size = 4;  // K; CC: always d_v
  bool ddl_v_constant = false;
  double ddl_v_constant_value = 2.0;

  // EC.
  int64_t input_embed_shortconv_kernel_size = 4;  // K_e

  // Scalar.
  bool ddl_v_dim1_constant = false;
  double ddl_v_dim1_constant_value = 2.0;

  // Every DDL kind.
  double ddl_k_eps = 1e-5;
  bool ddl_beta_single_linear = true;
  int64_t ddl_beta_hidden_size = 128;
  bool ddl_v_sigmoid = true;
  double ddl_v_sigmoid_scale = 4.0;

  bool is_ddl() const { return kind != ResidualKind::kAdditive; }
  bool is_tc() const { return kind == ResidualKind::kDdlTc || kind == ResidualKind::kDdlTcEc; }
  bool is_cc() const { return kind == ResidualKind::kDdlCc || kind == ResidualKind::kDdlCcEc; }
  bool has_ec() const { return kind == ResidualKind::kDdlTcEc || kind == ResidualKind::kDdlCcEc; }

  // Value channels of the residual state; 1 for the kinds that keep a vector.
  int64_t d_v() const { return is_tc() || is_cc() ? ddl_value_channels : 1; }
  int64_t attention_width() const { return num_attention_heads * head_dim; }  // H * D

  int64_t MlpWidth() const;                     // hid (FORMAT.md 3.2, MLP)
  int64_t RotaryDims() const;                   // R, even (FORMAT.md 3.2 step 3)
  double BlockNormEps() const;                  // of ln_1, ln_2 and ln_f (FORMAT.md 3.1)
  double OutputNormEps() const;                 // of o_norm (FORMAT.md 3.1)
  double LogitScale() const;                    // m (FORMAT.md 3.3, Head)
  std::optional<double> ConstantValue() const;  // v, where it is a constant (FORMAT.md 3.3)

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// What the tensors of a checkpoint tell of its configuration (FORMAT.md 1.1, last paragraph).
struct TensorEvidence {
  bool has_ddl_attn = false;
  bool has_readout_shortconv = false;  // readout.shortconv.weight
  bool has_readout_weight = false;     // readout.weight
  bool has_embed_conv = false;         // input_embed.conv.weight
  std::optional<int64_t> readout_read_length;

  // Absent if the names belong to no one kind.
  std::optional<ResidualKind> Kind() const;
};

// Parses and checks the text of a config.json. Without `evidence`, `ddl_variant` has to tell the
// kind. Every key must be known; one that only other kinds read is accepted and has no effect.
// INVALID_ARGUMENT names the key, its value and what it may be.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json,
                                             const TensorEvidence* evidence = nullptr);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_CONFIG_H_
