// What a step makes a device do, by sequence: bytes and FLOPs, from the model's configuration, and
// the time they ought to take. Pure.
#ifndef DELTASERVE_SERVER_MODEL_COST_MODEL_H_
#define DELTASERVE_SERVER_MODEL_COST_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/tensor.h"
#include "server/api/observers.h"

namespace deltaserve {

struct ModelConfig;

// What a device can do, as measured (model/calibration.h) or as its operator says. Both positive.
struct DevicePeaks {
  double bytes_per_second = 0;  // read from its memory
  double flops_per_second = 0;  // of a matrix product in the model's dtype
};

// What one model's steps are made of.
struct ModelCosts {
  int64_t block_weight_bytes = 0;       // read once by a step: all weights but the embedding
  int64_t head_weight_bytes = 0;        // read once by a step that wants logits: the embedding
  int64_t kv_bytes_per_position = 0;    // keys and values, over all layers
  int64_t state_bytes_per_token = 0;    // the residual state, read and written at each boundary
  int64_t tail_bytes_per_sequence = 0;  // of a token-axis compressor, read and written
  int64_t flops_per_token = 0;          // of the blocks, but for attention over positions
  int64_t flops_per_attended = 0;       // of a token for each position it attends to
  int64_t flops_per_logit_row = 0;
};

// A multiplication and an addition are two FLOPs. Activations between the ops of a sublayer, norms
// and elementwise functions are left out: they come with the token, and are small beside the rest.
ModelCosts CostsOf(const ModelConfig& config, DType dtype);

// One sequence's part of a step.
struct WorkCost {
  double bytes = 0;  // a fraction where weights are shared
  double flops = 0;
};

// The weights of the blocks are shared by the step's tokens, those of the head by its rows of
// logits; a sequence's keys and values, state, tails and FLOPs are its own.
std::vector<WorkCost> CostsOfStep(const ModelCosts& model, absl::Span<const SequenceWork> step);

class CostModel {
 public:
  // Without peaks every sequence of a step counts the same.
  CostModel() = default;
  CostModel(const ModelCosts& model, const DevicePeaks& peaks) : model_(model), peaks_(peaks) {}

  // The time that each sequence's part ought to take, bytes / bandwidth + FLOPs / peak, in
  // picoseconds: what a step's true time is shared out by.
  std::vector<int64_t> Picoseconds(absl::Span<const SequenceWork> step) const;

 private:
  ModelCosts model_;
  DevicePeaks peaks_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_MODEL_COST_MODEL_H_
