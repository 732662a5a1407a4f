#include "server/engine/lane_loader.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/step_shape.h"
#include "server/model/assign_or_return.h"
#include "server/model/checkpoint.h"

namespace deltaserve {
namespace {

// Entries of a request's logit_bias where a device's memory is planned.
constexpr int64_t kMaxLogitBias = 1024;
// Ids of a sample that min_tokens may ban: stop ids and the end of sequence.
constexpr int64_t kMaxBanned = 32;

int64_t PagesFor(int64_t num_tokens, int64_t page_tokens) {
  return (num_tokens + page_tokens - 1) / page_tokens;
}

// The largest step, without padding.
StepSize LargestStep(const LaneOptions& options) {
  StepSize largest;
  largest.tokens = options.max_batch_tokens;
  largest.sequences = options.max_sequences;
  // Prompts whose last logits are sampled up to 16 times, or score the first tokens of many
  // continuations.
  largest.samples = options.max_sequences * 16;
  largest.targets = options.max_batch_tokens +
                    options.max_sequences * std::max<int64_t>(16, options.max_continuations);
  return largest;
}

ModelInfo Describe(const LaneOptions& options, const Checkpoint& checkpoint, const Decoder& decoder,
                   const Backend& backend) {
  const ModelConfig& config = decoder.config();
  ModelInfo info;
  info.name = options.name;
  info.residual = std::string(Name(config.kind));
  info.value_channels = config.d_v();
  info.vocab_size = config.vocab_size;
  info.context_length = config.block_size;
  info.num_layers = config.num_hidden_layers;
  info.hidden_size = config.hidden_size;
  info.num_heads = config.num_attention_heads;
  info.head_dim = config.head_dim;
  info.num_parameters = checkpoint.num_parameters();
  info.weight_bytes = decoder.weight_bytes();
  info.dtype = std::string(Name(decoder.dtype()));
  info.device = std::string(backend.device());
  info.eos_token_id =
      config.eos_token_id.has_value() ? config.eos_token_id : options.default_eos_token_id;
  info.max_sequences = options.max_sequences;
  return info;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LaneLoader>> LaneLoader::Load(Backend& backend,
                                                             const LaneOptions& options) {
  if (options.max_batch_tokens < options.max_sequences) {
    return absl::InvalidArgumentError(
        absl::StrCat("model \"", options.name, "\": a step of ", options.max_batch_tokens,
                     " tokens cannot hold one of each of ", options.max_sequences, " sequences"));
  }
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(options.model_dir));
  const int64_t page_tokens = backend.page_tokens();
  StepSize largest = LargestStep(options);

  StepLimits limits;
  const int64_t padding = PaddedRows(backend.step_traits(), largest.sequences) - largest.sequences;
  limits.max_tokens = largest.tokens + padding;
  limits.max_sampled = largest.samples + padding;
  limits.max_targets = largest.targets + padding;
  if (options.kv_cache_tokens > 0) {
    limits.max_sequence_tokens =
        std::max<int64_t>(1, options.kv_cache_tokens / page_tokens) * page_tokens;
  }
  const DType dtype = options.dtype.value_or(checkpoint.default_dtype());
  ASSIGN_OR_RETURN(std::unique_ptr<Decoder> decoder,
                   Decoder::Load(backend, checkpoint, dtype, limits));

  const int64_t longest = decoder->limits().max_sequence_tokens;
  largest.pages_per_sequence = PagesFor(longest, page_tokens);
  // Where memory is the host's, the batch grows for callers who edit more logits than usual.
  int64_t max_logit_bias = std::numeric_limits<int64_t>::max();
  if (backend.memory().has_value()) {
    max_logit_bias = kMaxLogitBias;
    const int64_t edits_of_sample =
        std::min(decoder->config().vocab_size, longest + kMaxLogitBias + kMaxBanned);
    largest.edits = largest.samples * edits_of_sample;
  }
  StepBatch batch(backend, decoder->stream().left_tokens());
  RETURN_IF_ERROR(batch.Reserve(largest));
  ModelInfo info = Describe(options, checkpoint, *decoder, backend);
  return std::unique_ptr<LaneLoader>(new LaneLoader(
      backend, options, std::move(decoder), std::move(batch), std::move(info), max_logit_bias));
}

absl::StatusOr<int64_t> LaneLoader::UsablePages(int64_t cache_bytes) const {
  const int64_t page_tokens = backend_.page_tokens();
  if (options_.kv_cache_tokens > 0) {
    return std::max<int64_t>(1, options_.kv_cache_tokens / page_tokens);
  }
  const CacheSizes sizes = decoder_->cache_sizes();
  const int64_t page_bytes = sizes.PageBytes();
  const int64_t left_bytes = cache_bytes - (options_.max_sequences + 1) * sizes.SlotBytes();
  const int64_t pages = left_bytes / page_bytes - 1;
  if (pages < 1) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "model \"", options_.name, "\": on ", std::string(backend_.device()), ", ", cache_bytes,
        " bytes are left for the cache beside weights and workspace; it needs ",
        cache_bytes - left_bytes + 2 * page_bytes, " at least"));
  }
  // More than all sequences at their longest would lie idle.
  const int64_t longest = PagesFor(decoder_->limits().max_sequence_tokens, page_tokens);
  return std::min(pages, options_.max_sequences * longest);
}

absl::StatusOr<std::unique_ptr<ModelLane>> LaneLoader::Finish(int64_t cache_bytes) {
  ASSIGN_OR_RETURN(const int64_t usable_pages, UsablePages(cache_bytes));
  CacheGeometry geometry;
  geometry.page_tokens = backend_.page_tokens();
  geometry.num_pages = usable_pages + 1;
  geometry.num_slots = options_.max_sequences + 1;
  info_.max_sequence_tokens =
      std::min(decoder_->limits().max_sequence_tokens, usable_pages * geometry.page_tokens);
  ASSIGN_OR_RETURN(Engine engine, Engine::Make(backend_, std::move(decoder_), geometry.num_pages,
                                               geometry.num_slots));
  return std::unique_ptr<ModelLane>(new ModelLane(std::move(engine), std::move(batch_), geometry,
                                                  std::move(info_), options_, max_logit_bias_));
}

absl::StatusOr<std::vector<std::unique_ptr<ModelLane>>> FinishLanes(
    Backend& backend, std::vector<std::unique_ptr<LaneLoader>> loaders) {
  std::vector<std::unique_ptr<ModelLane>> lanes;
  for (const auto& loader : loaders) {
    const auto left = static_cast<int64_t>(loaders.size() - lanes.size());
    const int64_t free_bytes = backend.memory().value_or(MemoryBudget()).free;
    ASSIGN_OR_RETURN(lanes.emplace_back(), loader->Finish(free_bytes / left));
  }
  return lanes;
}

}  // namespace deltaserve
