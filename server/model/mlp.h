// The MLP sublayer (FORMAT.md 3.2), the same for every residual kind.
#ifndef DELTASERVE_SERVER_MODEL_MLP_H_
#define DELTASERVE_SERVER_MODEL_MLP_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/model/residual_stream.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

// h = W_proj(silu(W_fc1 c) * W_fc2 c). Immutable after load.
class Mlp {
 public:
  // `gate_hidden_weight`: see ResidualStream::GateHiddenWeight.
  static absl::StatusOr<Mlp> Load(const ModelConfig& config, int64_t layer,
                                  const std::optional<std::string>& gate_hidden_weight,
                                  const WeightLoader& loader);

  int64_t projected_width() const { return projection_->out_features(); }
  int64_t width() const { return width_; }

  // io.c -> io.h (and io.gate_hidden). Scratch: projected, f32
  // [T, projected_width()]; hidden, model dtype [T, width()], with zeros between its rows.
  void Forward(SublayerIo& io, TensorView projected, TensorView hidden) const;

 private:
  Backend* backend_ = nullptr;
  int64_t width_ = 0;  // hid
  bool has_gate_hidden_ = false;
  std::unique_ptr<PackedLinear> projection_;  // fc1, fc2, gate hidden if any
  std::unique_ptr<PackedLinear> output_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_MLP_H_
