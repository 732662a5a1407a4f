// The attention sublayer (FORMAT.md 3.2), the same for every residual kind.
#ifndef DELTASERVE_SERVER_MODEL_ATTENTION_H_
#define DELTASERVE_SERVER_MODEL_ATTENTION_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/model/residual_stream.h"
#include "server/model/rope.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

// Immutable after load.
class Attention {
 public:
  // `gate_hidden_weight`: see ResidualStream::GateHiddenWeight. `rope` must outlive it.
  static absl::StatusOr<Attention> Load(const ModelConfig& config, int64_t layer,
                                        const std::optional<std::string>& gate_hidden_weight,
                                        const RopeTables& rope, const WeightLoader& loader);

  // Columns of `projected` that Forward needs.
  int64_t projected_width() const { return projection_->out_features(); }

  // io.c -> io.h (and io.gate_hidden); keys and values go into `kv`. Scratch: projected,
  // f32 [T, projected_width()]; y, model dtype [T, H*D].
  void Forward(const Step& step, TensorView kv, TensorView next_kv, SublayerIo& io,
               TensorView projected, TensorView y) const;

 private:
  Backend* backend_ = nullptr;
  int64_t num_heads_ = 0;
  int64_t width_ = 0;               // H * D
  PrepareAttentionParams prepare_;  // all but the step's part
  HeadNormGateParams head_norm_;    // likewise
  bool has_output_gate_ = false;
  bool has_gate_hidden_ = false;
  float scale_ = 1;
  std::unique_ptr<PackedLinear> projection_;  // q, k, v, output gate if any, gate hidden if any
  std::unique_ptr<PackedLinear> output_;
  DeviceTensor q_norm_, k_norm_, head_norm_weight_;  // f32 [D]
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_ATTENTION_H_
