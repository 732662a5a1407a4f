// Reads a d x d_v state back to width d (FORMAT.md 3.4).
#ifndef DELTASERVE_SERVER_MODEL_RESIDUAL_COMPRESSOR_H_
#define DELTASERVE_SERVER_MODEL_RESIDUAL_COMPRESSOR_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/config.h"
#include "server/model/weight_loader.h"

namespace deltaserve {

// w_eff of FORMAT.md 3.4, by planes: [d_v, d]. `weight` is [d, K], `read` is [d_v], K = d_v.
std::vector<float> FoldChannelTaps(absl::Span<const float> weight, absl::Span<const float> read,
                                   int64_t hidden_size);
// read_j * weight[i * d_v + j, s], by planes: [K, d_v, d]. `weight` is [d * d_v, K].
std::vector<float> FoldTokenTaps(absl::Span<const float> weight, absl::Span<const float> read,
                                 int64_t hidden_size);

// Over channels (CC) or over tokens (TC). Both are linear, so the read vector is folded in at load.
class Compressor {
 public:
  // `prefix` is "readout" or "transformer.h.N.compress".
  static absl::StatusOr<Compressor> Load(const ModelConfig& config, const std::string& prefix,
                                         const WeightLoader& loader);

  // Fills in the read half of a boundary. `call` counts the reads of a forward pass: tails are kept
  // per call, also where two calls share a compressor.
  void SetRead(BoundaryParams& boundary, int64_t call, TensorView tails) const;

 private:
  BoundaryParams::Read read_ = BoundaryParams::Read::kChannels;
  DeviceTensor weight_;  // f32 [d_v, d] or [K, d_v, d]
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_RESIDUAL_COMPRESSOR_H_
