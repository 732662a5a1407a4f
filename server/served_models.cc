#include "server/served_models.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/tokenizer/tokenizer.h"

namespace deltaserve {
namespace {

// Null: there is none, and the model serves token ids only.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const Options::Model& model) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(model.path);
  if (tokenizer.ok()) return std::shared_ptr<const Tokenizer>(*std::move(tokenizer));
  if (absl::IsNotFound(tokenizer.status())) return std::shared_ptr<const Tokenizer>();
  return absl::Status(tokenizer.status().code(),
                      absl::StrCat("model ", model.name, ": ", tokenizer.status().message()));
}

absl::Status CheckVocabulary(const ServedModel& model) {
  if (model.tokenizer == nullptr || model.tokenizer->vocab_size() <= model.info.vocab_size) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model ", model.info.name, ": the tokenizer has ", model.tokenizer->vocab_size(),
                   " tokens, more than the model's vocab_size, ", model.info.vocab_size));
}

}  // namespace

absl::StatusOr<std::vector<ServedModel>> LoadTokenizers(const Options& options) {
  std::vector<ServedModel> models;
  for (const Options::Model& model : options.models) {
    absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer = LoadTokenizer(model);
    if (!tokenizer.ok()) return tokenizer.status();
    models.push_back({.info = {}, .tokenizer = *std::move(tokenizer), .queue = nullptr});
  }
  return models;
}

std::vector<LaneOptions> LaneOptionsFor(const Options& options,
                                        const std::vector<ServedModel>& models) {
  std::vector<LaneOptions> lanes;
  for (size_t i = 0; i < models.size(); ++i) {
    LaneOptions& lane = lanes.emplace_back();
    lane.name = options.models[i].name;
    lane.model_dir = options.models[i].path;
    if (options.dtype == "bf16") lane.dtype = DType::kBF16;
    if (options.dtype == "fp32") lane.dtype = DType::kF32;
    if (models[i].tokenizer != nullptr) {
      lane.default_eos_token_id = models[i].tokenizer->EndOfText();
    }
    lane.max_batch_tokens = options.max_batch_tokens;
    lane.max_sequences = options.max_sequences;
    lane.kv_cache_tokens = options.kv_cache_tokens;
    lane.max_continuations = options.max_continuations;
  }
  return lanes;
}

absl::StatusOr<ModelRegistry> RegisterModels(const Options& options,
                                             std::vector<ServedModel> models, RequestQueue& queue) {
  for (ServedModel& model : models) {
    if (absl::Status status = CheckVocabulary(model); !status.ok()) return status;
    if (options.nanodollars_per_device_hour) {
      model.info.usd_per_device_hour =
          static_cast<double>(*options.nanodollars_per_device_hour) * 1e-9;
    }
    model.queue = &queue;
  }
  return ModelRegistry(std::move(models));
}

}  // namespace deltaserve
