// Streams that write by the delta rule: a gate for each sublayer.
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_STREAM_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_STREAM_H_

#include <optional>
#include <string>
#include <vector>

#include "server/model/residual/boundary_stream.h"
#include "server/model/residual/delta_gate.h"

namespace deltaserve {

class DeltaStream : public BoundaryStream {
 public:
  bool has_gate() const override { return true; }
  std::optional<std::string> GateHiddenWeight(Site site) const override;
  void Cross(const Step& step, const CacheView& cache, Site done, Site next, SublayerIo& io,
             TensorView src, TensorView dst) const override;
  void Finish(const Step& step, const CacheView& cache, Site done, SublayerIo& io, TensorView src,
              TensorView dst) const override;

 protected:
  absl::Status LoadGates(const ModelConfig& config, const WeightLoader& loader);
  void SetWrite(BoundaryParams& boundary, Site done, const SublayerIo& io) const override;
  void SetRead(BoundaryParams& boundary, std::optional<Site> next, const CacheView& cache,
               const SublayerIo& io) const override;

 private:
  std::vector<DeltaGate> gates_;  // by site index
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_STREAM_H_
