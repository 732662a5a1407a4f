#include "server/service/model_registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/tokenizer/utf8.h"

namespace deltaserve {

absl::StatusOr<const ServedModel*> ModelRegistry::Find(std::string_view name) const {
  if (name.empty() && models_.size() == 1) return &models_.front();
  for (const ServedModel& model : models_) {
    if (model.info.name == name) return &model;
  }
  if (name.empty() && !models_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: must be named, since the server has several: ", Names()));
  }
  return absl::NotFoundError(
      absl::StrCat("model: ", QuotedBytes(name), " is not served; served: ", Names()));
}

std::string ModelRegistry::Names() const {
  return absl::StrJoin(models_, ", ", [](std::string* out, const ServedModel& model) {
    absl::StrAppend(out, model.info.name);
  });
}

}  // namespace deltaserve
