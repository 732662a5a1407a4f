#include "server/model/mlp.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::StatusOr<Mlp> Mlp::Load(const ModelConfig& config, int64_t layer,
                              const std::optional<std::string>& gate_hidden_weight,
                              const WeightLoader& loader) {
  const std::string prefix = absl::StrCat("transformer.h.", layer, ".mlp.");
  Mlp mlp;
  mlp.backend_ = &loader.backend();
  mlp.width_ = config.MlpWidth();
  mlp.has_gate_hidden_ = gate_hidden_weight.has_value();
  std::vector<std::string> projections = {prefix + "c_fc1.weight", prefix + "c_fc2.weight"};
  if (gate_hidden_weight) projections.push_back(*gate_hidden_weight);
  ASSIGN_OR_RETURN(mlp.projection_, loader.LoadLinear(projections));
  ASSIGN_OR_RETURN(mlp.output_, loader.LoadLinear({prefix + "c_proj.weight"}));
  return mlp;
}

void Mlp::Forward(SublayerIo& io, TensorView projected, TensorView hidden) const {
  backend_->Linear({projection_.get(), io.c, projected});
  backend_->SwiGlu({projected.Columns(0, 2 * width_), hidden});
  if (has_gate_hidden_) {
    io.gate_hidden = projected.Columns(2 * width_, projected.dim(1) - 2 * width_);
  }
  const bool zero_padded = hidden.row_stride > width_;
  backend_->Linear({.weight = output_.get(), .x = hidden, .y = io.h, .zero_padded = zero_padded});
}

}  // namespace deltaserve
