#ifndef DELTASERVE_SERVER_SERVED_MODELS_H_
#define DELTASERVE_SERVER_SERVED_MODELS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "server/api/request_queue.h"
#include "server/engine/model_lane.h"
#include "server/options.h"
#include "server/service/model_registry.h"

namespace deltaserve {

// The models that options.models names, in that order, on their way from the options to the
// service: first their tokenizers, as far as there are any; then a device loads them, which fills
// in their `info`; then they can be registered. The status names the model.
absl::StatusOr<std::vector<ServedModel>> LoadTokenizers(const Options& options);

// What a device needs to load them. `models` have their tokenizers.
std::vector<LaneOptions> LaneOptionsFor(const Options& options,
                                        const std::vector<ServedModel>& models);

// `models` are loaded; `queue`, which all requests go to, outlives the registry. INVALID_ARGUMENT:
// a tokenizer has tokens that its model has not.
absl::StatusOr<ModelRegistry> RegisterModels(const Options& options,
                                             std::vector<ServedModel> models, RequestQueue& queue);

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVED_MODELS_H_
