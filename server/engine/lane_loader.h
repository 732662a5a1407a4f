#ifndef DELTASERVE_SERVER_ENGINE_LANE_LOADER_H_
#define DELTASERVE_SERVER_ENGINE_LANE_LOADER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/api/model_info.h"
#include "server/engine/model_lane.h"
#include "server/engine/step_batch.h"
#include "server/model/cost_model.h"
#include "server/model/decoder.h"

namespace deltaserve {

// Loads a model in two steps, so that the models of a device can share its memory: first what each
// must have, then a cache from what is left. After that nothing is allocated any more.
class LaneLoader {
 public:
  // The weights, and the workspace of the largest step. The backend must outlive the lane.
  static absl::StatusOr<std::unique_ptr<LaneLoader>> Load(Backend& backend,
                                                          const LaneOptions& options);

  DType dtype() const { return decoder_->dtype(); }
  ModelCosts costs() const { return CostsOf(decoder_->config(), decoder_->dtype()); }

  // The cache: of options.kv_cache_tokens or, where that is 0, of at most `cache_bytes`. Once.
  // RESOURCE_EXHAUSTED: there is not so much, or not enough for a page.
  absl::StatusOr<std::unique_ptr<ModelLane>> Finish(int64_t cache_bytes);

 private:
  LaneLoader(Backend& backend, const LaneOptions& options, std::unique_ptr<Decoder> decoder,
             StepBatch batch, ModelInfo info, int64_t max_logit_bias)
      : backend_(backend),
        options_(options),
        decoder_(std::move(decoder)),
        batch_(std::move(batch)),
        info_(std::move(info)),
        max_logit_bias_(max_logit_bias) {}

  // Without page 0.
  absl::StatusOr<int64_t> UsablePages(int64_t cache_bytes) const;

  Backend& backend_;
  const LaneOptions options_;
  std::unique_ptr<Decoder> decoder_;
  StepBatch batch_;
  ModelInfo info_;
  const int64_t max_logit_bias_;
};

// All of a device's models, in their order: caches that are sized by its memory share what is left
// of it evenly.
absl::StatusOr<std::vector<std::unique_ptr<ModelLane>>> FinishLanes(
    Backend& backend, std::vector<std::unique_ptr<LaneLoader>> loaders);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_ENGINE_LANE_LOADER_H_
