#include "server/model/residual/delta_stream.h"

#include "server/model/assign_or_return.h"

namespace deltaserve {

absl::Status DeltaStream::LoadGates(const ModelConfig& config, const WeightLoader& loader) {
  RETURN_IF_ERROR(LoadShared(config, loader));
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (bool mlp : {false, true}) {
      ASSIGN_OR_RETURN(DeltaGate gate, DeltaGate::Load(config, Site{layer, mlp}, loader));
      gates_.push_back(std::move(gate));
    }
  }
  return absl::OkStatus();
}

std::optional<std::string> DeltaStream::GateHiddenWeight(Site site) const {
  return gates_[site.index()].hidden_weight();
}

void DeltaStream::Cross(const Step& step, const CacheView& cache, Site done, Site next,
                        SublayerIo& io, TensorView src, TensorView dst) const {
  gates_[done.index()].FinishGate(backend(), done, io);
  BoundaryStream::Cross(step, cache, done, next, io, src, dst);
}

void DeltaStream::Finish(const Step& step, const CacheView& cache, Site done, SublayerIo& io,
                         TensorView src, TensorView dst) const {
  gates_[done.index()].FinishGate(backend(), done, io);
  BoundaryStream::Finish(step, cache, done, io, src, dst);
}

void DeltaStream::SetWrite(BoundaryParams& boundary, Site done, const SublayerIo& io) const {
  gates_[done.index()].SetWrite(boundary, done, io);
}

void DeltaStream::SetRead(BoundaryParams& boundary, std::optional<Site> next, const CacheView&,
                          const SublayerIo& io) const {
  if (next) gates_[next->index()].SetRead(boundary, *next, io);
}

}  // namespace deltaserve
