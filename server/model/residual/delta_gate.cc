#include "server/model/residual/delta_gate.h"

#include "absl/strings/str_cat.h"
#include "server/model/assign_or_return.h"

namespace deltaserve {
namespace {

// Row `site` of [2L, T] or [2L, T, d_v].
TensorView OfSite(const TensorView& all, Site site) {
  TensorView row = all.Rows(site.index(), 1);
  return all.shape.rank() == 2 ? row.Reshaped({all.dim(1)})
                               : row.Reshaped({all.dim(1), all.dim(2)});
}

}  // namespace

absl::StatusOr<DeltaGate> DeltaGate::Load(const ModelConfig& config, Site site,
                                          const WeightLoader& loader) {
  const std::string prefix =
      absl::StrCat("transformer.h.", site.layer, site.mlp ? ".ddl_mlp." : ".ddl_attn.");
  DeltaGate gate;
  gate.k_eps_ = static_cast<float>(config.ddl_k_eps);

  const std::string outer =
      absl::StrCat(prefix, config.ddl_beta_single_linear ? "beta" : "beta_out");
  ASSIGN_OR_RETURN(std::vector<float> beta_weight, loader.Read(outer + ".weight"));
  ASSIGN_OR_RETURN(gate.beta_weight_,
                   loader.Upload(beta_weight, {static_cast<int64_t>(beta_weight.size())}));
  ASSIGN_OR_RETURN(std::vector<float> beta_bias, loader.Read(outer + ".bias"));
  gate.beta_bias_ = beta_bias[0];
  if (!config.ddl_beta_single_linear) gate.hidden_weight_ = prefix + "beta_in.weight";

  if (const std::optional<double> constant = config.ConstantValue()) {
    gate.target_ = BoundaryParams::Target::kConstant;
    gate.v_constant_ = static_cast<float>(*constant);
    return gate;
  }
  gate.target_ =
      config.ddl_v_sigmoid ? BoundaryParams::Target::kSigmoid : BoundaryParams::Target::kLinear;
  gate.v_scale_ = static_cast<float>(config.ddl_v_sigmoid_scale);
  ASSIGN_OR_RETURN(std::vector<float> v_weight, loader.Read(prefix + "v_proj.weight"));
  ASSIGN_OR_RETURN(gate.v_weight_, loader.Upload(v_weight, {config.d_v(), config.hidden_size}));
  ASSIGN_OR_RETURN(gate.v_bias_, loader.LoadVector(prefix + "v_proj.bias"));
  return gate;
}

void DeltaGate::SetRead(BoundaryParams& boundary, Site site, const SublayerIo& io) const {
  if (!hidden_weight_) {
    boundary.beta_weight = beta_weight_.view;
    boundary.beta_bias = beta_bias_;
    boundary.beta = OfSite(io.beta, site);
  }
  boundary.target = target_;
  boundary.v_weight = v_weight_.view;
  boundary.v_bias = v_bias_.view;
  boundary.v_scale = v_scale_;
  boundary.v_constant = v_constant_;
  boundary.v = OfSite(io.v, site);
}

void DeltaGate::FinishGate(Backend& backend, Site site, const SublayerIo& io) const {
  if (!hidden_weight_) return;
  TwoLayerGateParams params;
  params.hidden = io.gate_hidden;
  params.out_weight = beta_weight_.view;
  params.out_bias = beta_bias_;
  params.beta = OfSite(io.beta, site);
  backend.TwoLayerGate(params);
}

void DeltaGate::SetWrite(BoundaryParams& boundary, Site site, const SublayerIo& io) const {
  boundary.write = BoundaryParams::Write::kDelta;
  boundary.k_eps = k_eps_;
  boundary.h = io.h;
  boundary.write_beta = OfSite(io.beta, site);
  boundary.write_v = OfSite(io.v, site);
  boundary.proj = OfSite(io.proj, site);
}

}  // namespace deltaserve
