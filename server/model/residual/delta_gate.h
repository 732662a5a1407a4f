// Gate and target of one sublayer's delta write (FORMAT.md 3.3, Delta update).
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_GATE_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_GATE_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/model/config.h"
#include "server/model/residual_stream.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

class DeltaGate {
 public:
  static absl::StatusOr<DeltaGate> Load(const ModelConfig& config, Site site,
                                        const WeightLoader& loader);

  // The boundary that reads this sublayer's input makes its target, and its gate if that has one
  // layer only.
  void SetRead(BoundaryParams& boundary, Site site, const SublayerIo& io) const;
  // The gate of a two-layer kind, between the sublayer and the boundary that writes its result.
  void FinishGate(Backend& backend, Site site, const SublayerIo& io) const;
  // The boundary that writes this sublayer's result uses them.
  void SetWrite(BoundaryParams& boundary, Site site, const SublayerIo& io) const;

  const std::optional<std::string>& hidden_weight() const { return hidden_weight_; }

 private:
  float k_eps_ = 0;
  DeviceTensor beta_weight_;  // f32 [d], or [b] of a two-layer gate
  float beta_bias_ = 0;
  std::optional<std::string> hidden_weight_;  // name of W_in; set for a two-layer gate
  BoundaryParams::Target target_ = BoundaryParams::Target::kSigmoid;
  DeviceTensor v_weight_;  // f32 [d_v, d]
  DeviceTensor v_bias_;    // f32 [d_v]
  float v_scale_ = 1;
  float v_constant_ = 0;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_GATE_H_
