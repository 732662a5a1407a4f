// What every kind of stream has in common: norms, embedding, and the order of a boundary's halves.
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_BOUNDARY_STREAM_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_BOUNDARY_STREAM_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "server/model/residual_stream.h"

namespace deltaserve {

// A kind of stream says how it writes and how it reads; this runs the boundaries.
class BoundaryStream : public ResidualStream {
 public:
  int64_t value_channels() const override { return d_v_; }
  int64_t left_tokens() const override { return embed_conv_ ? embed_conv_.view.dim(0) - 1 : 0; }

  void Begin(const Step& step, const CacheView& cache, TensorView wte, TensorView x,
             SublayerIo& io) const override;
  void Cross(const Step& step, const CacheView& cache, Site done, Site next, SublayerIo& io,
             TensorView src, TensorView dst) const override;
  void Finish(const Step& step, const CacheView& cache, Site done, SublayerIo& io, TensorView src,
              TensorView dst) const override;

 protected:
  absl::Status LoadShared(const ModelConfig& config, const WeightLoader& loader);
  Backend& backend() const { return *backend_; }

 private:
  // Fills in the write half for the sublayer that has finished.
  virtual void SetWrite(BoundaryParams& boundary, Site done, const SublayerIo& io) const = 0;
  // Fills in the read half, gate and target included, for the sublayer that comes next; nullopt is
  // the readout.
  virtual void SetRead(BoundaryParams& boundary, std::optional<Site> next, const CacheView& cache,
                       const SublayerIo& io) const = 0;

  void Run(const Step& step, const CacheView& cache, std::optional<Site> done,
           std::optional<Site> next, SublayerIo& io, TensorView src, TensorView dst) const;

  Backend* backend_ = nullptr;
  int64_t d_v_ = 1;
  float norm_eps_ = 0;
  std::vector<DeviceTensor>
      norms_;                // f32 [d] by site index; the last is ln_f, times the logit scale
  DeviceTensor embed_conv_;  // f32 [K_e, d_v, d]
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_BOUNDARY_STREAM_H_
