#ifndef DELTASERVE_SERVER_SERVICE_MODEL_REGISTRY_H_
#define DELTASERVE_SERVER_SERVICE_MODEL_REGISTRY_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/api/model_info.h"
#include "server/api/request_queue.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {

struct ServedModel {
  ModelInfo info;
  std::shared_ptr<const Tokenizer> tokenizer;  // null: the model serves token ids only
  RequestQueue* queue = nullptr;               // outlives the registry
};

// The models of this server, by name. Immutable, so any number of threads may look.
class ModelRegistry {
 public:
  // Names must be unique.
  explicit ModelRegistry(std::vector<ServedModel> models) : models_(std::move(models)) {}

  // No name means the only model. INVALID_ARGUMENT: no name, but several models; NOT_FOUND: not
  // served. Both list what is. The model lives as long as the registry.
  absl::StatusOr<const ServedModel*> Find(std::string_view name) const;

  const std::vector<ServedModel>& models() const { return models_; }

 private:
  std::string Names() const;

  const std::vector<ServedModel> models_;
};

}  // namespace deltaserve

#endif  // DELTASERVE_SERVER_SERVICE_MODEL_REGISTRY_H_
