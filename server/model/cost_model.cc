#include "server/model/cost_model.h"

#include <cmath>

#include "server/model/config.h"
#include "server/model/tensor_specs.h"

namespace deltaserve {
namespace {

constexpr int64_t kF32Bytes = 4;  // of state and tails

// Multiplications of one token by the weights of a sublayer's gate and target (FORMAT.md 3.3).
int64_t GateProducts(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t beta = config.ddl_beta_single_linear ? d : config.ddl_beta_hidden_size * (d + 1);
  const int64_t v = config.ConstantValue() ? 0 : config.d_v() * d;
  return beta + v;
}

// Of the delta update of a state: kᵀX, then X += β k (v − kᵀX)ᵀ.
int64_t WriteProducts(const ModelConfig& config) {
  return config.is_ddl() ? 2 * config.d_v() * config.hidden_size : 0;
}

// Of reading a sublayer's input from the state (FORMAT.md 3.4).
int64_t ReadProducts(const ModelConfig& config) {
  const int64_t state = config.d_v() * config.hidden_size;
  if (config.is_tc()) return state * config.ddl_state_shortconv_kernel_size;
  return config.is_cc() ? state : 0;
}

}  // namespace

ModelCosts CostsOf(const ModelConfig& config, DType dtype) {
  const int64_t element = SizeBytes(dtype);
  const int64_t d = config.hidden_size;
  const int64_t layers = config.num_hidden_layers;
  const int64_t heads = config.attention_width();
  const int64_t sublayers = 2 * layers;
  const int64_t reads = sublayers + 1;  // the readout's, too
  const int64_t embedding = config.vocab_size * d;

  int64_t parameters = 0;
  for (const TensorSpec& tensor : ExpectedTensors(config)) parameters += tensor.shape.NumElements();

  ModelCosts costs;
  costs.block_weight_bytes = (parameters - embedding) * element;
  costs.head_weight_bytes = embedding * element;
  costs.kv_bytes_per_position = layers * 2 * heads * element;
  costs.state_bytes_per_token = reads * 2 * config.d_v() * d * kF32Bytes;
  if (config.is_tc()) {
    costs.tail_bytes_per_sequence =
        reads * 2 * (config.ddl_state_shortconv_kernel_size - 1) * d * kF32Bytes;
  }
  const int64_t attention = (config.use_output_gate ? 5 : 4) * heads * d;
  const int64_t mlp = 3 * config.MlpWidth() * d;
  const int64_t gates = config.is_ddl() ? sublayers * GateProducts(config) : 0;
  costs.flops_per_token = 2 * (layers * (attention + mlp) + gates +
                               sublayers * WriteProducts(config) + reads * ReadProducts(config));
  costs.flops_per_attended = 2 * layers * 2 * heads;  // q·k, and the sum over v
  costs.flops_per_logit_row = 2 * embedding;
  return costs;
}

std::vector<WorkCost> CostsOfStep(const ModelCosts& model, absl::Span<const SequenceWork> step) {
  int64_t tokens = 0;
  int64_t logit_rows = 0;
  for (const SequenceWork& work : step) {
    tokens += work.tokens;
    logit_rows += work.logit_rows;
  }
  std::vector<WorkCost> costs;
  costs.reserve(step.size());
  for (const SequenceWork& work : step) {
    const double n = static_cast<double>(work.tokens);
    const double rows = static_cast<double>(work.logit_rows);
    // The last token attends to kv_len positions, each one before it to one less.
    const double attended = n * static_cast<double>(work.kv_len) - n * (n - 1) / 2;
    // Keys and values are read up to the last token's, and the new ones written.
    const double positions = static_cast<double>(work.kv_len) + n;
    WorkCost& cost = costs.emplace_back();
    if (tokens > 0) cost.bytes += model.block_weight_bytes * (n / static_cast<double>(tokens));
    if (logit_rows > 0) {
      cost.bytes += model.head_weight_bytes * (rows / static_cast<double>(logit_rows));
    }
    cost.bytes += model.kv_bytes_per_position * positions + model.state_bytes_per_token * n +
                  model.tail_bytes_per_sequence;
    cost.flops = model.flops_per_token * n + model.flops_per_attended * attended +
                 model.flops_per_logit_row * rows;
  }
  return costs;
}

std::vector<int64_t> CostModel::Picoseconds(absl::Span<const SequenceWork> step) const {
  if (!(peaks_.bytes_per_second > 0 && peaks_.flops_per_second > 0)) {
    return std::vector<int64_t>(step.size(), 1);
  }
  constexpr double kPicoseconds = 1e12;
  std::vector<int64_t> picoseconds;
  picoseconds.reserve(step.size());
  for (const WorkCost& cost : CostsOfStep(model_, step)) {
    picoseconds.push_back(std::llround(kPicoseconds * (cost.bytes / peaks_.bytes_per_second +
                                                       cost.flops / peaks_.flops_per_second)));
  }
  return picoseconds;
}

}  // namespace deltaserve
